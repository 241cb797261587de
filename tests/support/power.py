# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a power failure would leave of a directory: only what was flushed is certain to be there."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MKDIR = os.mkdir
State = dict[str, "bytes | None"]
"""What is in a directory: the content of each file, None for each directory."""


class Disk:
    """Watches what this process changes below ``top``; ``states`` are all that a power failure could have left.

    A file has the content that it had when it was flushed last, or none, and a directory below ``top`` the names that
    it had then, or those that it has now. Of what changed in ``top`` itself since, each name may have come to the disk;
    what did not come there from another directory is still where it was. ``early`` is what got a name, and was not all
    on the disk by then, its owner and mode included.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self.states: list[State] = []
        self.early: list[str] = []
        self._files: dict[int, bytes] = {}
        self._access: dict[int, tuple[int, int, int]] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._came_from: dict[int, tuple[int, str]] = {}
        # While a descriptor is open no other file gets the number of its inode.
        self._open: list[int] = []
        for path in (top, *top.rglob("*")):
            descriptor = os.open(path, os.O_RDONLY)
            self._flush(descriptor)
            os.close(descriptor)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Look at all calls from now on; nothing waits for a real disk."""
        patch.setattr(os, "fsync", self._flush)
        for name in ("mkdir", "link", "rename", "replace", "unlink", "rmdir"):
            patch.setattr(os, name, self._looking(getattr(os, name)))

    def close(self) -> None:
        for each in self._open:
            os.close(each)

    def _flush(self, descriptor: int) -> None:
        self._open.append(os.dup(descriptor))
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._names[status.st_ino] = _inodes(descriptor)
        else:
            self._files[status.st_ino] = os.pread(descriptor, status.st_size, 0)
            self._access[status.st_ino] = _access(status)

    def _looking(self, real: Any) -> Any:
        def call(path: Path | str, *arguments: Any, **options: Any) -> None:
            if "src_dir_fd" in options:
                directory = options["src_dir_fd"] or Path(path).parent
                status = os.stat(path, dir_fd=options["src_dir_fd"])
                self._came_from[status.st_ino] = os.stat(directory).st_ino, Path(path).name
                if not self._is_flushed(status):
                    self.early.append(Path(path).name)
            real(path, *arguments, **options)
            if real is MKDIR:
                descriptor = os.open(path, os.O_RDONLY, dir_fd=options["dir_fd"])
                self._open.append(descriptor)
                self._names[os.fstat(descriptor).st_ino] = {}
            self.states.extend(each for each in self._possible() if each not in self.states)

        return call

    def _is_flushed(self, status: os.stat_result) -> bool:
        if not stat.S_ISDIR(status.st_mode):
            return self._access.get(status.st_ino) == _access(status)
        inside = self._current(set())[status.st_ino]
        below = [each.stat() for each in self.top.rglob("*") if each.is_file()]
        whole = all(self._is_flushed(each) for each in below if each.st_ino in inside.values())
        return whole and self._names.get(status.st_ino) == inside

    def _possible(self) -> Iterator[State]:
        before, now = self._names[self.top.stat().st_ino], _inodes(self.top)
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        for came in itertools.product((False, True), repeat=len(changed)):
            names = {**before, **{name: now.get(name, 0) for name, new in zip(changed, came) if new}}
            missing = {now[name] for name, new in zip(changed, came) if not new and name in now}
            yield dict(self._content(names, self._names))
            yield dict(self._content(names, {**self._names, **self._current(missing)}))

    def _current(self, missing: set[int]) -> dict[int, dict[str, int]]:
        """The names in each directory now, with those of what is ``missing`` in ``top``."""
        found = {each.stat().st_ino: _inodes(each) for each in self.top.rglob("*") if each.is_dir()}
        for number in missing & set(self._came_from):
            directory, name = self._came_from[number]
            found.get(directory, {})[name] = number
        return found

    def _content(self, names: dict[str, int], inside: dict[int, dict[str, int]]) -> Iterator[tuple[str, bytes | None]]:
        for name, number in names.items():
            if number in inside:
                yield name, None
                for below, content in self._content(inside[number], inside):
                    yield f"{name}/{below}", content
            elif number:
                yield name, self._files.get(number, b"")


def _access(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_uid, status.st_gid, status.st_mode


def _inodes(directory: Path | int) -> dict[str, int]:
    with os.scandir(directory) as entries:
        return {each.name: each.inode() for each in entries}


def write(state: State, directory: Path) -> None:
    """Make ``directory``, and let it hold ``state``."""
    directory.mkdir(mode=0o700)
    for name, content in sorted(state.items()):
        if content is None:
            (directory / name).mkdir(mode=0o700)
        else:
            (directory / name).write_bytes(content)
