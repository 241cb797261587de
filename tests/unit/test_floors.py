# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine is a house with floors: a room imports only what is below it, and nothing but the standard library."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine import manifest

ENGINE = Path(manifest.__file__).resolve().parent
ROOT = ENGINE.parents[2]

FLOORS = (
    (
        "errors", "places", "owners", "confined", "files", "locks", "scratch", "clock", "host", "interrupts", "urls",
        "schedule", "seal", "sqlite",
    ),
    ("database", "schema", "proof", "processes", "manifest", "notes", "pins", "published", "identity", "wal",
     "journal", "pages"),
    ("programs", "keyfiles", "ciphertext", "encryption", "codec"),
    ("description", "repository", "retention", "forecast", "pin", "snapshot", "include", "switch", "destination",
     "archive"),
    ("chain", "choice", "image", "store", "evidence", "base", "draft", "backup_request", "preview", "health",
     "findings", "findings_live", "findings_stored", "findings_host"),
    ("backup", "restore", "verify", "prune", "pinning", "info", "doctor"),
    ("options", "answers", "report", "config", "selection"),
    ("seen", "commands", "guard", "console", "manual", "grammar"),
    ("cli",),
)  # fmt: skip
# Who may import whom on the same floor, always what stands further left there: importer, imported. What is done with
# a file begins with a descriptor; a file is made for the owner of its directory, and beside another owner root works
# in a child; a lock is a file, and a locked place is in use; what a proof says of a database is a part of the
# manifest; which database it is of is asked of its proof, and of what is published; which processes use a database is
# asked by its sidecars; streams are encrypted by programs, with keys from files, and looked at afterwards; a
# repository is opened by what describes it; a forecast begins with decisions; a snapshot is read from a pinned
# database; a base is the end of a chain; a draft is made of a base, of what is stored and of what that proves; a
# backup is asked for with the rules of its base, and so is a preview; what is examined is the same for all findings; a
# configuration is checked by what becomes of it; databases are selected from a configuration; a command minds which
# repository was seen before; a guard commands a backup; a console shows the results of commands; the command line
# knows on what there is help.
NEIGHBOURS = {
    ("owners", "places"), ("confined", "owners"), ("files", "places"), ("files", "owners"),
    ("locks", "places"), ("locks", "files"), ("scratch", "locks"),
    ("proof", "database"), ("schema", "database"), ("proof", "schema"), ("processes", "database"),
    ("manifest", "proof"),
    ("published", "manifest"), ("published", "notes"), ("published", "pins"), ("published", "proof"),
    ("identity", "proof"), ("identity", "published"),
    ("codec", "programs"), ("codec", "encryption"),
    ("encryption", "programs"), ("encryption", "keyfiles"), ("encryption", "ciphertext"),
    ("repository", "description"), ("snapshot", "pin"), ("forecast", "retention"),
    ("evidence", "store"), ("base", "chain"), ("draft", "store"), ("draft", "evidence"), ("draft", "base"),
    ("backup_request", "base"), ("preview", "backup_request"),
    ("findings_live", "findings"), ("findings_stored", "findings"), ("findings_host", "findings"),
    ("config", "options"), ("selection", "config"),
    ("commands", "seen"), ("guard", "commands"), ("console", "commands"), ("grammar", "manual"),
}  # fmt: skip
EVERYWHERE = "errors"
LONGEST_LINES = 400

# `sys.stdlib_module_names` came with Python 3.10; there it checks this list, which is what 3.9 goes by.
STANDARD = {
    "__future__", "abc", "argparse", "array", "collections", "concurrent", "contextlib", "dataclasses", "datetime",
    "difflib", "errno", "fcntl", "functools", "getpass", "grp", "gzip", "hashlib", "importlib", "io", "itertools",
    "json", "lzma", "mmap", "msvcrt", "os", "pathlib", "pickle", "platform", "pwd", "re", "secrets", "shlex",
    "shutil", "signal", "socket", "sqlite3", "stat", "struct", "subprocess", "sys", "syslog", "tempfile", "threading",
    "time", "traceback", "types", "typing", "urllib", "zlib", "zipfile", "zoneinfo",
}  # fmt: skip

ROOMS = sorted(path.stem for path in ENGINE.glob("*.py") if path.stem != "__init__")
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
PLACE_OF = {room: place for floor in FLOORS for place, room in enumerate(floor)}


def imported_rooms(source: str) -> set[str]:
    """The rooms that a room imports, as ``from . import x`` or ``from .x import y``, anywhere in it."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, "a room must not reach out of the engine"
            rooms |= {node.module.split(".")[0]} if node.module else {each.name for each in node.names}
    return rooms


def imported_modules(source: str) -> set[str]:
    """The first part of every absolute import."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add(str(node.module).split(".", maxsplit=1)[0])
    return modules


def source_of(room: str) -> str:
    return (ENGINE / f"{room}.py").read_text(encoding="utf-8")


def may_import(room: str, other: str) -> bool:
    return other == EVERYWHERE or FLOOR_OF[other] < FLOOR_OF[room] or (room, other) in NEIGHBOURS


def test_every_room_has_its_floor() -> None:
    """A new room must not escape these tests."""
    assert sorted(FLOOR_OF) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_what_is_below_it(room: str) -> None:
    """An import upwards would tie a mechanism to its use."""
    wrong = {other for other in imported_rooms(source_of(room)) - {room} if not may_import(room, other)}
    assert not wrong


@pytest.mark.parametrize(("room", "other"), sorted(NEIGHBOURS))
def test_permission_between_neighbours_is_in_order_and_in_use(room: str, other: str) -> None:
    """The list must not grow silently, and two rooms must not import each other."""
    assert FLOOR_OF[room] == FLOOR_OF[other]
    assert PLACE_OF[other] < PLACE_OF[room]
    assert other in imported_rooms(source_of(room))


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_the_standard_library(room: str) -> None:
    """On a host there is nothing else, and the engine must run without Ansible."""
    assert not imported_modules(source_of(room)) - STANDARD


@pytest.mark.parametrize("room", sorted({*ROOMS} - {"sqlite"}))
def test_room_gets_sqlite_where_it_may_be_missing(room: str) -> None:
    """On a Python without it every room must be loadable, so that there is an answer."""
    assert "sqlite3" not in imported_modules(source_of(room))


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 has no list of its standard library")
def test_list_of_standard_modules_is_right() -> None:
    """The list above must not hide a module that hosts do not have."""
    assert not STANDARD - sys.stdlib_module_names


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_small(room: str) -> None:
    """A room that no longer fits on a few pages is two rooms."""
    assert len(source_of(room).splitlines()) < LONGEST_LINES


def test_version_is_that_of_the_collection() -> None:
    """A backup must not name another version than the one that wrote it."""
    found = re.search(r"^version: *(\S+)$", (ROOT / "galaxy.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    assert found[1] == manifest.COLLECTION_VERSION


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("from . import files, locks", {"files", "locks"}),
        ("from .errors import EngineError", {"errors"}),
        ("def f():\n    from .clock import now", {"clock"}),
        ("import os", set()),
    ],
)
def test_imports_are_seen_in_every_form(source: str, rooms: set[str]) -> None:
    """A form of import that this file does not know would pass every test above."""
    assert imported_rooms(source) == rooms
