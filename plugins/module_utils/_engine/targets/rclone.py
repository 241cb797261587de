# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets that rclone reaches: S3, Google Cloud Storage, Azure Blob, and any remote of an rclone.conf.

Its configuration goes in by the environment, which nobody but this user and root can read, never on a command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sealed import keyfiles
from ..sealed.pipeline import ProgramFailedError
from ..system import files, places
from ..system.errors import MALFORMED, EngineError, RefusedError, TargetUnreachableError, UsageError
from .address import Address
from .programs import Hear
from .transport import REFUSALS, Comparison, NoDirectoryError, Told, Transport

_REMOTE = "target"
_TYPES = {"s3": "s3", "gs": "google cloud storage", "azblob": "azureblob"}
_DEFAULTS = {
    # It need not be allowed to make buckets.
    "s3": {"provider": "AWS", "no_check_bucket": "true"},
    "gs": {"bucket_policy_only": "true", "no_check_bucket": "true"},
    "azblob": {"no_check_container": "true"},
}
_SETTING = re.compile(r"([a-z][a-z0-9_]*)\s*=\s*(\S.*)")
_COMMON = (
    *("--retries", "1", "--low-level-retries", "3", "--contimeout", "15s", "--timeout", "1m"),
    *("--use-json-log", "--stats", "1s", "--stats-log-level", "NOTICE", "--log-level", "NOTICE"),
)
# https://rclone.org/docs/#exit-code
_NO_DIRECTORY, _USAGE = 3, 2
# Kinds of digests by the names of rclone, which are those of Python; the best first.
_DIGESTS = ("sha256", "sha1", "md5")


class Rclone(Transport):
    """Whatever rclone knows. It compares a copy with its source itself, by digest where the target has one."""

    # It takes one name a line, and writes other characters for these ones.
    unusable = re.compile("[\0-\x1f\x7f\ud800-\udfff]")

    def __init__(self, address: Address) -> None:
        environment, secrets = _configuration(address)
        super().__init__(address, environment, secrets)
        if address.scheme == "rclone":
            self._place, config = f"{address.place}:{address.path}", []
        else:
            # Without a file; what somebody configured for interactive use must not matter.
            # With a slash, else rclone asks first whether there is a file of that name.
            self._place, config = f"{_REMOTE}:{address.place}/{address.path}".rstrip("/") + "/", ["--config="]
        limit = [] if address.bandwidth_kib is None else ["--bwlimit", f"{address.bandwidth_kib}K"]
        self._words = ["rclone", *config, *_COMMON, *limit]
        self._listed: dict[str, int] | None = None
        self._is_checked = False

    def names(self) -> dict[str, int]:
        if self._listed is None:
            self._listed = {each.path: each.bytes for each in self._list("--recursive", "--fast-list", "--no-modtime")}
        return self._listed

    def _list(self, *options: str, names: Sequence[str] = ()) -> list[_Entry]:
        words = [*self._words, "lsjson", *options, "--files-only", "--no-mimetype", self._place]
        try:
            return list(map(_entry, _parsed(self._run(words, names, separator="\n"))))
        except NoDirectoryError:
            return []

    def compare(self, top: Path, names: Sequence[str], *, digests: bool = False) -> Comparison:
        if digests:
            return self._compare_digests(top, names)
        listed = self.names()
        found = [each for each in names if each in listed]
        sizes: dict[str, int] = {}
        for each in found:
            # What a prune has removed here since is there, and asks for nothing.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                sizes[each] = os.lstat(top / each).st_size
        different = [each for each, size in sizes.items() if size != listed[each]]
        shorter = [each for each in different if listed[each] < sizes[each]]
        return Comparison(frozenset(names) - frozenset(found), frozenset(different), frozenset(shorter))

    def _compare_digests(self, top: Path, names: Sequence[str]) -> Comparison:
        """One request a file, and no listing: what is asked for by name is not listed."""
        options = ["--recursive", "--hash", "--no-modtime", "--no-traverse", "--files-from-raw", "-"]
        there = {each.path: each for each in self._list(*options, names=names)}
        different = [each for each in names if each in there and _differs(top / each, there[each])]
        return Comparison(frozenset(names) - frozenset(there), frozenset(different))

    def put(self, top: Path, names: Sequence[str], tell: Told) -> None:
        self._listed = None
        words = [
            *self._words,
            "copy",
            str(top),
            self._place,
            "--no-traverse",
            "--files-from-raw",
            "-",
            "--ignore-existing",
        ]
        self._run(words, names, separator="\n", tell=tell)

    def get(self, names: Sequence[str], into: Path, watch: Callable[[], None]) -> None:
        words = [*self._words, "copy", self._place, str(into), "--no-traverse", "--files-from-raw", "-"]
        self._run(words, names, separator="\n", watch=watch)

    def remove(self, names: Sequence[str]) -> None:
        self._listed = None
        self._run([*self._words, "delete", self._place, "--files-from-raw", "-"], names, separator="\n")
        if self.address.scheme == "rclone":
            # An object store has no directories that could be left.
            self._run([*self._words, "rmdirs", self._place, "--leave-root"])

    def _run(self, *words: Any, **more: Any) -> bytes:
        if self.address.options and self.address.scheme != "rclone" and not self._is_checked:
            self._is_checked = True
            self._check_options()
        return super()._run(*words, **more)

    def _check_options(self) -> None:
        """Raise ``UsageError`` for an option that this rclone does not know: it would pass over it silently."""
        version, *_rest = super()._run(["rclone", "version"]).decode(errors="replace").splitlines()
        listed = _parsed(super()._run(["rclone", "--config=", "config", "providers"]))
        kind = _TYPES[self.address.scheme]
        known = {str(option["Name"]) for each in listed if each["Name"] == kind for option in each["Options"]}
        for name in self.address.options:
            if name not in known:
                raise UsageError(
                    f"options: {name} is not an option of {kind} that {version} knows.",
                    hint=f"See `rclone help backend {kind}`; a newer rclone may know it.",
                )

    def _may_pass(self, error: ProgramFailedError) -> bool:
        return error.exit_code not in (_NO_DIRECTORY, _USAGE) and not re.search(REFUSALS, error.said)

    def _explained(self, error: ProgramFailedError) -> EngineError:
        told = dict.fromkeys(_message(line) for line in error.said.splitlines())
        # It says the same again for each attempt.
        error.said = "\n".join(each for each in told if each and not each.startswith("Attempt "))
        return super()._explained(error)

    def _hear(self, tell: Told) -> Hear:
        def hear(line: bytes) -> None:
            found = re.search(rb'"stats":\{.*?"bytes":(\d+)', line)
            if found:
                tell(int(found[1]))

        return hear


def _message(line: str) -> str:
    """What a line of rclone's log says; nothing for progress."""
    try:
        entry = json.loads(line)
        return "" if "stats" in entry else str(entry["msg"])
    except MALFORMED:
        return "" if line.startswith("{") else line


def _parsed(output: bytes) -> list[Any]:
    try:
        found = json.loads(output)
    except MALFORMED as error:
        raise TargetUnreachableError(f"what rclone lists cannot be read: {error}.") from None
    return found if isinstance(found, list) else []


@dataclass(frozen=True)
class _Entry:
    """A file at the target; ``digests`` by the names that rclone has for their kinds."""

    path: str
    bytes: int
    digests: Mapping[str, str]


def _entry(listed: Any) -> _Entry:
    try:
        return _Entry(str(listed["Path"]), int(listed["Size"]), dict(listed.get("Hashes") or {}))
    except MALFORMED:
        raise RefusedError(f"what rclone lists cannot be read: {listed!r:.100}.") from None


def _differs(path: Path, there: _Entry) -> bool:
    """Whether what is there is not the file ``path``, by its size and the best digest that the target tells."""
    with places.reading(path, alone=False) as file:
        if os.fstat(file.fileno()).st_size != there.bytes:
            return True
        kind = next((each for each in _DIGESTS if there.digests.get(each)), None)
        return kind is not None and files.digest_of(file, kind) != there.digests[kind].lower()


def _configuration(address: Address) -> tuple[dict[str, str], list[str]]:
    """The environment that configures rclone, and what in it is secret."""
    file = address.credentials_file
    if file is not None:
        keyfiles.check_private(file, "credentials_file")
        # A fifo in its place would keep rclone waiting.
        content = keyfiles.content(file, "credentials_file")
    if address.scheme == "rclone":
        overrides = {
            f"RCLONE_CONFIG_{address.place.upper()}_{name.upper()}": text for name, text in address.options.items()
        }
        return {"RCLONE_CONFIG": str(file), **overrides}, []
    settings = {"type": _TYPES[address.scheme], **_DEFAULTS[address.scheme], **address.options}
    if "endpoint" in address.options and "provider" not in address.options and address.scheme == "s3":
        settings["provider"] = "Other"
    secrets: dict[str, str] = {}
    if file is None:
        settings.setdefault("env_auth", "true")
    elif address.scheme == "gs":
        settings["service_account_file"] = str(file)
    else:
        secrets = _credentials(file, content)
    settings.update(secrets)
    hidden = [text for text in secrets.values() if len(text) >= 8]
    return {f"RCLONE_CONFIG_{_REMOTE.upper()}_{name.upper()}": text for name, text in settings.items()}, hidden


def _credentials(file: Path, content: bytes) -> dict[str, str]:
    """Options of rclone's, one ``name = value`` on a line. No message quotes what is in the file."""
    found = {}
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith(("#", "[")):
            continue
        match = _SETTING.fullmatch(text)
        if match is None:
            raise UsageError(
                f"line {number} of the credentials_file {file} is not name = value.",
                hint="Write what rclone.conf has, such as: secret_access_key = …",
            )
        found[match[1]] = match[2].strip()
    return found
