# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine has wings and each wing has floors: a room imports only what is below it, and the standard library."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest

ENGINE = Path(manifest.__file__).resolve().parents[1]
ROOT = ENGINE.parents[2]

# From the top down; so are the floors of a wing, which begin with what uses the floors below.
WINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "runner": (
        ("cli",),
        ("serve", "telling"),
        ("demo", "guard", "looks"),
        ("commands", "status"),
        ("drills", "nagios"),
        ("audit", "console", "discovery", "grammar", "offsite", "portable", "recovery"),
        ("counts", "seen", "selection", "sinks", "target_config", "vocabulary"),
        ("config", "manual", "watch_config"),
        ("demo_writer", "result", "server", "strict", "wording", "zipapp"),
    ),
    "work": (
        ("drill",),
        ("backup", "extract", "restore"),
        ("doctor", "draft", "export", "extras", "find_good", "preview"),
        (
            "backup_request",
            "compare",
            "drill_request",
            "findings_host",
            "findings_live",
            "findings_stored",
            "findings_target",
            "info",
            "load",
            "prune_target",
            "pull",
            "push",
            "restore_request",
            "verify",
            "written",
        ),
        (
            "acknowledge",
            "backup_facts",
            "content",
            "copies",
            "destination",
            "discover",
            "findings",
            "included",
            "pinning",
            "prune",
            "staged",
        ),
    ),
    "watch": (
        ("served",),
        ("drill_report", "fleet_report", "otlp", "textfile"),
        ("drill_details", "fleet_details", "metrics", "status_file"),
        ("chart", "figures", "health", "notify", "page"),
        ("exporter", "given", "look", "markup", "measured", "offsite", "recovery", "schedule", "web"),
    ),
    "targets": (
        ("target",),
        ("rclone", "rsync"),
        ("transport",),
        ("address", "programs"),
    ),
    "repository": (
        ("base",),
        ("chain", "choice"),
        ("examination", "log_parts", "repository"),
        ("description", "identity", "image", "include"),
        ("log_note", "published", "reading"),
        ("forecast", "manifest", "pins"),
        ("anomaly", "audit", "inclusion", "notes", "pages", "retention", "seal"),
    ),
    "sealed": (
        ("recognized",),
        ("codec",),
        ("encryption",),
        ("ciphertext", "keyfiles", "pipeline"),
    ),
    "sqlite": (
        ("rebuilt",),
        ("documents", "portable"),
        ("contents", "script"),
        ("makes", "part", "snapshot"),
        ("difference", "permits", "pin", "switch", "tables"),
        ("ours", "proof"),
        ("processes", "schema", "search"),
        ("database", "kept", "urls"),
        ("bugs", "dotenv", "journal", "library", "values", "virtual", "wal", "workplace"),
    ),
    "system": (
        ("scratch",),
        ("locks",),
        ("files",),
        ("pieces",),
        ("confined", "who"),
        ("owners", "rights"),
        ("options", "places"),
        ("clock", "held", "launch"),
        ("aside", "errors", "interrupts", "mounts", "windows", "words"),
    ),
}
LONGEST_LINES = 400

# `sys.stdlib_module_names` came with Python 3.10; there it checks this list, which is what 3.9 goes by.
STANDARD = {
    "__future__", "abc", "argparse", "array", "base64", "collections", "concurrent", "contextlib", "ctypes",
    "dataclasses", "datetime", "difflib", "errno", "fcntl", "fnmatch", "functools", "getpass", "grp", "gzip",
    "hashlib", "html", "http", "importlib", "io", "itertools", "json", "lzma", "math", "mmap", "msvcrt", "operator",
    "os", "pathlib", "pickle", "platform", "pwd", "re", "resource", "secrets", "select", "shlex", "shutil", "signal",
    "socket", "socketserver", "sqlite3", "ssl", "stat", "struct", "subprocess", "sys", "syslog", "tempfile",
    "threading", "time", "traceback", "types", "typing", "urllib", "uuid", "weakref", "zipfile", "zlib", "zoneinfo",
}  # fmt: skip
# What a room runs for, in a Python of its own that has these.
BROUGHT = {"watch/exporter": {"opentelemetry", "requests"}}

ROOMS = sorted(path.relative_to(ENGINE).as_posix()[:-3] for path in ENGINE.rglob("*.py") if path.stem != "__init__")
# The higher, the more a room may use.
HEIGHT_OF = {
    f"{wing}/{room}": (-depth, -floor)
    for depth, (wing, floors) in enumerate(WINGS.items())
    for floor, rooms in enumerate(floors)
    for room in rooms
}


def imported_rooms(source: str, wing: str) -> set[str]:
    """The rooms that one of ``wing`` imports, as ``from . import x`` or ``from ..wing.x import y``, anywhere in it."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level <= 2, "a room must not reach out of the engine"
            path = [*([wing] if node.level == 1 else []), *(node.module.split(".") if node.module else [])]
            rooms |= {"/".join(path)} if len(path) > 1 else {f"{path[0]}/{each.name}" for each in node.names}
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


def test_every_room_has_its_floor() -> None:
    """A new room must not escape these tests."""
    assert sorted(HEIGHT_OF) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_what_is_below_it(room: str) -> None:
    """An import upwards, or across, would tie a mechanism to its use."""
    imported = imported_rooms(source_of(room), room.partition("/")[0])
    assert not {other for other in imported if HEIGHT_OF[other] >= HEIGHT_OF[room]}


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_no_higher_than_it_must_be(room: str) -> None:
    """The table must tell what stands on what, not what might."""
    wing = room.partition("/")[0]
    below = [each for each in imported_rooms(source_of(room), wing) if each.startswith(f"{wing}/")]
    lowest = -len(WINGS[wing]) + 1
    assert HEIGHT_OF[room][1] == max((HEIGHT_OF[each][1] + 1 for each in below), default=lowest)


def test_runner_needs_every_room() -> None:
    """Ansible brings what is imported: a room that the runner does not need would be in one made elsewhere only."""
    needed, rest = {"runner/zipapp"}, ["runner/cli"]
    while rest:
        room = rest.pop()
        if room not in needed:
            needed.add(room)
            rest.extend(imported_rooms(source_of(room), room.partition("/")[0]))
    assert sorted(needed) == ROOMS


@pytest.mark.parametrize("wing", WINGS)
def test_document_lists_the_rooms_of_a_wing_from_the_top_down(wing: str) -> None:
    """A newcomer looks there first."""
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = document.split(f"\n### {wing}\n")[1].split("\n#")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [room for floor in WINGS[wing] for room in floor]


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_the_standard_library(room: str) -> None:
    """On a host there is nothing else, and the engine must run without Ansible."""
    assert not imported_modules(source_of(room)) - STANDARD - BROUGHT.get(room, set())


@pytest.mark.parametrize("room", sorted({*ROOMS} - {"sqlite/library"}))
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
        ("from . import files, locks", {"system/files", "system/locks"}),
        ("from .errors import EngineError", {"system/errors"}),
        ("from ..sealed import codec", {"sealed/codec"}),
        ("def f():\n    from ..sealed.codec import zstd", {"sealed/codec"}),
        ("import os", set()),
    ],
)
def test_imports_are_seen_in_every_form(source: str, rooms: set[str]) -> None:
    """A form of import that this file does not know would pass every test above."""
    assert imported_rooms(source, "system") == rooms
