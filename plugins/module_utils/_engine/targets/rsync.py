# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets that rsync reaches: a directory of another host by ssh, and one of a mounted disk."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ..sealed import keyfiles
from ..sealed.pipeline import ProgramFailedError
from ..system import files, owners, scratch
from ..system.errors import RefusedError, StorageFailedError
from .address import Address
from .programs import Hear
from .transport import REFUSALS, Comparison, NoDirectoryError, Told, Transport

_SELECTED = ("--files-from=-", "--from0")
_PRIVATE = ("--perms", "--chmod=D0700,F0600")
# Of --itemize-changes: a file that is sent, or received on the same host; all pluses when it is not there yet.
_CHANGE = re.compile(rb"[<>]f(\S{9}) (.*)")
_NEW = b"+++++++++"
# Of --info=skip2, whose reasons came with rsync 3.2.4.
_EXISTS = re.compile(rb"(.*) exists(?: \((.*)\))?")
_CHANGED = (b"sum change", b"file change", b"type change")
# Of --list-only: the rights, the bytes, date, time, the name.
_LISTED = re.compile(rb"-\S{9}\S?\s+([\d,]+)\s+\S+\s+\S+\s(.*)")
_ESCAPED = re.compile(rb"\\#([0-7]{3})")
_PROGRESS = re.compile(rb"\s*([\d,]+)\s+\d+%")
# https://download.samba.org/pub/rsync/rsync.1#EXIT_VALUES
_PARTIAL, _USAGE, _DELETING_REFUSED = 23, 1, 25


class Rsync(Transport):
    """A comparison is rsync's own, played: a receiver that may only be written to answers it, too."""

    def __init__(self, address: Address) -> None:
        super().__init__(address, {"RSYNC_RSH": _shell(address)} if address.scheme == "ssh" else {})
        self._place = f"{_remote(address)}{address.path}/"
        limit = [] if address.bandwidth_kib is None else [f"--bwlimit={address.bandwidth_kib}"]
        self._words = ["rsync", "--timeout=120", "--no-human-readable", "--8-bit-output", *limit]
        if address.scheme == "file":
            _check_mounted(Path(address.path))

    def names(self) -> dict[str, int]:
        try:
            output = self._run([*self._words, "--recursive", "--list-only", self._place])
        except NoDirectoryError:
            return {}
        matches = filter(None, map(_LISTED.fullmatch, output.split(b"\n")))
        return {_name(each[2]): int(each[1].replace(b",", b"")) for each in matches}

    def compare(self, top: Path, names: Sequence[str], *, digests: bool = False) -> Comparison:
        # What a prune has removed here since asks for nothing.
        by = ["--checksum"] if digests else ["--size-only", "--ignore-missing-args"]
        told = ["--info=skip2", "--out-format=%i %n"]
        words = [*self._words, "--dry-run", *by, *told, *_SELECTED, f"{top}/", self._place]
        lines = self._run(words, names).split(b"\n")
        changes = {_name(each[2]): each[1] for each in filter(None, map(_CHANGE.fullmatch, lines))}
        # What a receiver that overwrites nothing says instead of that.
        skipped = {_name(each[1]): each[2] for each in filter(None, map(_EXISTS.fullmatch, lines))}
        missing = [name for name, change in changes.items() if change == _NEW]
        different = [name for name, change in changes.items() if change != _NEW]
        different.extend(name for name, why in skipped.items() if why in _CHANGED)
        unknown = [name for name, why in skipped.items() if why is None]
        return Comparison(frozenset(missing), frozenset(different), unknown=frozenset(unknown))

    def put(self, top: Path, names: Sequence[str], tell: Told) -> None:
        if self.address.scheme == "file":
            files.make_private_directory(Path(self.address.path))
        options = ["--ignore-existing", "--times", "--info=progress2", *_PRIVATE, *_SELECTED]
        self._run([*self._words, *options, f"{top}/", self._place], names, tell=tell)

    def get(self, names: Sequence[str], into: Path, watch: Callable[[], None]) -> None:
        self._run([*self._words, "--no-links", *_PRIVATE, *_SELECTED, self._place, f"{into}/"], names, watch=watch)

    def remove(self, names: Sequence[str]) -> None:
        """As what is missing in an empty directory: rsync removes in no other way."""
        with scratch.directory() as place:
            empty = place / "empty"
            files.create_directory(empty)
            above = {"/".join(each.split("/")[:end]) + "/" for each in names for end in range(1, each.count("/") + 1)}
            rules = [f"/{each}" for each in (*sorted(above), *names)]
            options = ["--recursive", "--delete", "--from0", "--include-from=-", "--exclude=*"]
            self._run([*self._words, *options, f"{empty}/", self._place], [*map(_literal, rules)])

    def _may_pass(self, error: ProgramFailedError) -> bool:
        return error.exit_code not in (_USAGE, _PARTIAL, _DELETING_REFUSED) and not re.search(REFUSALS, error.said)

    def _hear(self, tell: Told) -> Hear:
        def hear(line: bytes) -> None:
            found = _PROGRESS.match(line)
            if found:
                tell(int(found[1].replace(b",", b"")))

        return hear


def _name(printed: bytes) -> str:
    return _ESCAPED.sub(lambda octal: bytes([int(octal[1], 8)]), printed).decode("utf-8", "surrogateescape")


def _literal(rule: str) -> str:
    """``rule`` without what is a pattern in it. A backslash stands for itself where there is none."""
    return rule if not re.search(r"[*?\[]", rule) else re.sub(r"([*?\[\\])", r"\\\1", rule)


def _remote(address: Address) -> str:
    if address.scheme == "file":
        return ""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{address.user}@{host}:" if address.user else f"{host}:"


def _shell(address: Address) -> str:
    """The ssh that rsync calls: one that asks nothing, and talks to no host that it does not know."""
    words = ["ssh", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=15"]
    words.extend(["-oServerAliveInterval=15", "-oServerAliveCountMax=4"])
    if address.port is not None:
        words.extend(["-p", str(address.port)])
    if address.credentials_file is not None:
        keyfiles.check_private(address.credentials_file, "credentials_file")
        keyfiles.content(address.credentials_file, "credentials_file")
        words.extend(["-oIdentitiesOnly=yes", "-i", str(address.credentials_file)])
    if address.known_hosts is not None:
        words.append(f"-oUserKnownHostsFile={address.known_hosts}")
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """As rsync takes RSYNC_RSH apart, which is not as a shell does."""
    return "'" + word.replace("'", "''") + "'"


def _check_mounted(path: Path) -> None:
    """Raise unless ``path`` is on another filesystem than the root directory, and this user's own."""
    existing = next(each for each in (path, *path.parents) if each.is_dir())
    if os.stat(existing).st_dev == os.stat("/").st_dev:
        raise StorageFailedError(
            f"{path} is on the filesystem of the root directory: its disk is not mounted.",
            hint="Mount it. A copy on the same disk would be lost with it.",
        )
    if owners.other_owner(existing) is not None:
        raise RefusedError(
            f"{existing} belongs to another user, who could put anything there under any name.",
            hint="Name a directory of root's, or run as that user.",
        )
