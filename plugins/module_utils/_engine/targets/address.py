# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a target is and how it is used: one URL and a few options, the same for modules and the runner."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from ..system import options
from ..system.errors import UsageError
from ..system.options import Options

SCHEMES = ("ssh", "file", "s3", "gs", "azblob", "rclone")
DEFAULT_RETRIES = 3
DEFAULT_TIMEOUT_SECONDS = 6 * 3600.0
# What a shell on the other side, rsync and rclone all take as it is.
_PLAIN = re.compile(r"[A-Za-z0-9_.,=+@~/-]*")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|[0-9A-Fa-f:]+")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# rclone takes one letter for a drive of Windows.
_PLACE = {"s3": "bucket", "gs": "bucket", "azblob": "container", "rclone": "remote"}
_BANDWIDTH = re.compile(r"([0-9]{1,9})([KMG])")
_KIB = {"K": 1, "M": 1024, "G": 1024 * 1024}
_OPTION = re.compile(r"[a-z][a-z0-9_]*")
# Of rclone's options, those that are secrets, or name a file with one.
_SECRET = re.compile(r"secret|password|pass$|token|^key$|_key$|sas_url|credentials|connection_string")


@dataclass(frozen=True)
class Address:
    """A target: its URL taken apart, and the options of the modules' ``target``.

    ``place`` is the bucket, the container or the remote; ``path`` is absolute for ssh and file, and else relative to
    ``place``. Of ssh it may be empty: the top, which is where a receiver puts it. ``bandwidth_kib`` is KiB a second,
    None without limit; ``options`` are rclone's own, by its names.
    """

    scheme: str
    path: str
    place: str = ""
    user: str = ""
    host: str = ""
    port: int | None = None
    credentials_file: Path | None = None
    known_hosts: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    bandwidth_kib: int | None = None
    retries: int = DEFAULT_RETRIES
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    require_encryption: bool = False

    @property
    def url(self) -> str:
        """As people and logs are told; nothing in it is secret."""
        if self.place:
            return f"{self.scheme}://{self.place}/{self.path}".rstrip("/")
        host = f"[{self.host}]" if ":" in self.host else self.host
        user, port = f"{self.user}@" if self.user else "", "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{user}{host}{port}{self.path or '/'}"

    def below(self, name: str) -> Address:
        """The directory ``name`` in it."""
        return dataclasses.replace(self, path=f"{self.path}/{name}".lstrip("/" if self.place else ""))


def requested(given: Options) -> Address:
    """The target that the values of the option ``target`` describe. Raises ``UsageError``."""
    timeout_seconds = options.timeout(given)
    address = dataclasses.replace(
        _parsed(given["url"]),
        credentials_file=options.path(given, "credentials_file"),
        known_hosts=options.path(given, "known_hosts"),
        options=_options(given.get("options") or {}),
        bandwidth_kib=_bandwidth(given.get("bandwidth")),
        retries=options.count(given, "retries"),
        timeout_seconds=DEFAULT_TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds,
        require_encryption=given["require_encryption"],
    )
    _check_together(address)
    return address


def misplaced(given: Options) -> set[str]:
    """What is secret in the values of the option ``target``. It is refused there, and must not be shown with that."""
    found = {str(value) for name, value in (given["options"] or {}).items() if _SECRET.search(str(name))}
    with contextlib.suppress(ValueError):
        found.add(urlsplit(given["url"]).password or "")
    return found - {""}


def _parsed(url: str) -> Address:
    wrong = "the URL is not one of a target."
    hint = (
        "Write ssh://user@host:port/absolute/path, file:///mounted/disk/path, s3://bucket/prefix, gs://bucket/prefix, "
        "azblob://container/prefix or rclone://remote/path."
    )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(wrong, hint=hint) from None
    if parts.scheme not in SCHEMES or parts.query or parts.fragment:
        raise UsageError(wrong, hint=hint)
    # Never quoted: it may be a password.
    if parts.password is not None:
        raise UsageError("there is a password in the URL.", hint="Put what is secret into credentials_file.")
    path = unquote(parts.path).rstrip("/")
    if not _PLAIN.fullmatch(path) or {".", ".."} & set(path.split("/")) or "//" in path:
        raise UsageError(
            "the path of the URL has . or .. in it, or characters that not every program takes.",
            hint="Use letters, digits and _ . , = + @ ~ - in it.",
        )
    if parts.scheme in _PLACE:
        return _remote(parts, path, port)
    return _hosted(parts, path, port)


def _remote(parts: SplitResult, path: str, port: int | None) -> Address:
    place = parts.netloc
    if not _USER.fullmatch(place) or len(place) < 2 or port is not None:
        kind = _PLACE[parts.scheme]
        raise UsageError(f"the URL names no {kind}.", hint=f"Write {parts.scheme}://{kind}/path.")
    return Address(parts.scheme, path.lstrip("/"), place=place)


def _hosted(parts: SplitResult, path: str, port: int | None) -> Address:
    user, host = parts.username or "", parts.hostname or ""
    if parts.scheme == "file" and (parts.netloc or not path):
        raise UsageError("the URL names no directory of this host.", hint="Write file:///mounted/disk/path.")
    if parts.scheme == "ssh" and (not _HOST.fullmatch(host) or (user and not _USER.fullmatch(user)) or not parts.path):
        raise UsageError("the URL names no host and path.", hint="Write ssh://user@host:port/absolute/path.")
    return Address(parts.scheme, path, user=user, host=host, port=port)


def _options(given: Mapping[str, object]) -> dict[str, str]:
    found = {}
    for name, value in given.items():
        if not _OPTION.fullmatch(name):
            raise UsageError(f"options: {name!r:.40} is not an option of rclone.", hint="Write it as rclone.conf does.")
        if _SECRET.search(name):
            raise UsageError(f"options: {name} is secret.", hint=f"Put it into credentials_file, as: {name} = …")
        found[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def _bandwidth(given: str | None) -> int | None:
    if given is None:
        return None
    match = _BANDWIDTH.fullmatch(given)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"bandwidth is {given!r:.20}.", hint="Write bytes a second, such as 500K, 10M or 1G.")
    return int(match[1]) * _KIB[match[2]]


def _check_together(address: Address) -> None:
    by_rclone = address.scheme in _PLACE
    if address.options and not by_rclone:
        raise UsageError(f"options are for rclone, which {address.scheme} does not use.", hint="Omit options.")
    if address.known_hosts and address.scheme != "ssh":
        raise UsageError("known_hosts is for ssh alone.", hint="Omit known_hosts.")
    if address.credentials_file and address.scheme == "file":
        raise UsageError("a mounted disk needs no credentials.", hint="Omit credentials_file.")
    if address.scheme == "rclone" and not address.credentials_file:
        raise UsageError("rclone:// needs to know its remotes.", hint="Name the rclone.conf with credentials_file.")
