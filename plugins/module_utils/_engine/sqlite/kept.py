# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases that are copies: those in repositories of backups, and what a restore keeps beside a database.

Anybody can give a directory such a name, or put such a file into it. So a copy is only what has the place and the name
that a backup or a restore gives it, and only where nobody but root and its own owner could have arranged that: then
nobody hides what is somebody else's.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass

from ..system import scratch
from . import workplace

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_STAMP = r"\d{8}T\d{6}Z"
_OF_RESTORES = re.compile(
    rf"(?P<undo>.+){re.escape(workplace.MARK)}{_STAMP}|(?P<work>\..+\.restoring)|(?P<scratch>{re.escape(scratch.PREFIX)}.+)",
    re.DOTALL,
)
_IN_WORKPLACES = rf"(?:{'|'.join(map(re.escape, workplace.NAMES))})(?:/.+)?"


@dataclass(frozen=True)
class Form:
    """How a repository is known: by a file ``name`` with a content that ``is_right``.

    ``holds`` matches the paths in it, with ``/``, of databases that are copies.
    """

    name: str
    is_right: Callable[[bytes], bool]
    holds: re.Pattern[str]


@dataclass(frozen=True)
class Keeper:
    """A directory with copies at those paths in it that match ``holds``.

    ``makers`` are the users but root who could have arranged that it looks so; None is anybody.
    """

    path: str
    holds: re.Pattern[str]
    makers: frozenset[int] | None

    def entered(self, inside: os.stat_result) -> Keeper:
        """The same for what is in a directory below."""
        return dataclasses.replace(self, makers=_together(self.makers, _writers(inside)))

    def has(self, path: str) -> bool:
        """Whether the file at ``path``, which is below, has the place of a copy."""
        return self.holds.fullmatch(path[len(self.path) :].lstrip(os.sep).replace(os.sep, "/")) is not None

    def may_hide(self, file: os.stat_result) -> bool:
        return self.makers is not None and self.makers <= {file.st_uid}


def repository(path: str, here: os.stat_result, file: os.stat_result, form: Form) -> Keeper:
    """That of the repository in the directory ``path``; ``file`` is what tells that it is one."""
    return Keeper(path, form.holds, _together(_writers(here), _writers(file)))


def of_restore(path: str, inside: os.stat_result, around: os.stat_result) -> Keeper | None:
    """That of the directory ``path``, if it is called as what a restore makes; ``around`` is the one that it is in."""
    match = _OF_RESTORES.fullmatch(os.path.basename(path))
    if match is None:
        return None
    holds = re.escape(match["undo"]) if match["undo"] else _IN_WORKPLACES if match["work"] else ".+"
    # A group that may write there is one that its owner trusts with its names.
    anybody = os.name != "nt" and around.st_mode & stat.S_IWOTH and not around.st_mode & stat.S_ISVTX
    named = None if anybody else frozenset({around.st_uid} - {0})
    return Keeper(path, re.compile(holds, re.DOTALL), _together(named, _writers(inside)))


def _writers(status: os.stat_result) -> frozenset[int] | None:
    # Windows has no such owners and modes.
    if os.name != "nt" and status.st_mode & _OTHERS_WRITE:
        return None
    return frozenset({status.st_uid} - {0})


def _together(one: frozenset[int] | None, other: frozenset[int] | None) -> frozenset[int] | None:
    return None if one is None or other is None else one | other
