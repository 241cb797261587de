# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine opens, makes, changes or removes by name, and not through a descriptor, is listed with the reason.

In a directory in which somebody else can change names, a name leads root to whatever that user likes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest

ENGINE = Path(manifest.__file__).resolve().parents[1]

# Calls of these modules that take a name, unless they are given the descriptor of a directory.
OF_MODULES = {
    "os": {
        *(
            "open",
            "rename",
            "replace",
            "unlink",
            "remove",
            "rmdir",
            "removedirs",
            "mkdir",
            "makedirs",
            "mkfifo",
            "mknod",
        ),
        *("chmod", "chown", "lchown", "link", "symlink", "truncate", "utime", "setxattr", "removexattr"),
    },
    "shutil": {
        "copy",
        "copy2",
        "copyfile",
        "copyfileobj",
        "copymode",
        "copystat",
        "copytree",
        "chown",
        "move",
        "rmtree",
    },
    "tempfile": {"mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile"},
    "io": {"open", "FileIO"},
    "sqlite3": {"connect"},
    "database": {"connect", "attach"},
}
OF_PATHS = {
    *("read_bytes", "read_text", "write_bytes", "write_text", "touch", "unlink", "rename", "rmdir", "mkdir", "chmod"),
    *("symlink_to", "hardlink_to", "link_to", "lchmod"),
}
BY_DESCRIPTOR = {"dir_fd", "src_dir_fd", "dst_dir_fd"}
IN_SQL = ("ATTACH ", "VACUUM INTO", "VACUUM MAIN INTO")

ALLOWED = {
    "`ours` and `owners` see to it: with the rights of the owner of the directory, or where only root can change it": (
        "sqlite/ours._connected: database.connect",
        "sqlite/rebuilt.build: database.connect",
        "sqlite/snapshot._copy: database.connect",
        "sqlite/switch._is_folded: database.connect",
    ),
    "with the rights of the owner of the file, and what was opened is compared with what has the name": (
        "sqlite/pin._pinned: database.connect",
        "work/restore._compare_installed: database.connect",
    ),
    "in scratch, which is where only root can change it": (
        "sealed/encryption._decrypts: Path.write_text",
        "sqlite/difference._opened: database.attach",
        "sqlite/difference._opened: database.connect",
        "sqlite/part.Part._connection: database.attach",
        "sqlite/part.Part._connection: database.connect",
        "system/scratch._made: tempfile.mkdtemp",
        "work/export._Exporting._from_backup: database.connect",
        "work/findings_target._can_read: Path.read_bytes",
    ),
    "what the others above call": (
        "sqlite/database.attach: ATTACH",
        "sqlite/database._opened: sqlite3.connect",
    ),
    "in memory": (
        "sqlite/makes._makes: sqlite3.connect",
        "sqlite/rebuilt._is_one_statement: sqlite3.connect",
    ),
    "a descriptor": (
        "system/owners.copy_attributes: os.setxattr",
        "system/owners.hand_over: os.chown",
    ),
    "a descriptor for root; by name only for who is not root, and on Windows": (
        "repository/audit.append: os.rename",
        "runner/zipapp._replace: os.chmod",
        "system/held.remove_tree: shutil.rmtree",
        "system/files.sync_directory: os.open",
        "system/owners.give_directory: os.chown",
        "system/owners.make_private: os.chmod",
    ),
    "on Windows alone, which has only names": (
        "system/windows.protect: os.chmod",
        "system/windows.unprotect: os.chmod",
    ),
    "the root of all names": ("system/places._open_directory: os.open",),
    "only read, without following a link, for its first bytes": ("sqlite/search._open: os.open",),
    "the kernel's": (
        "runner/console._discard: os.open",
        "runner/guard._in_front_of_terminal: os.open",
        "sealed/encryption.Encryption.check: open",
        "sealed/encryption._leave: open",
        "sqlite/processes._name_of: Path.read_text",
        "system/mounts.filesystem_of: Path.read_bytes",
        "system/who._login: open",
        "system/who._parent: open",
        "system/who._ssh_address: open",
    ),
    "what the operator names, and root's": (
        "runner/zipapp._sources: Path.read_bytes",
        "runner/zipapp._version_of: open",
        "sealed/encryption._import: open",
        "sealed/encryption._passphrase: os.open",
        "sealed/keyfiles.content: open",
    ),
    "the demonstration's own, in scratch": (
        "runner/demo._copy: sqlite3.connect",
        "runner/demo._make: sqlite3.connect",
        "runner/demo._prove: sqlite3.connect",
        "runner/demo_writer.committed: sqlite3.connect",
        "runner/demo_writer.main: sqlite3.connect",
    ),
}
"""Why it is safe: what."""


def opened_by_name() -> Iterator[str]:
    """Each place as ``wing/room.function: call``."""
    for path in sorted(ENGINE.rglob("*.py")):
        room = path.relative_to(ENGINE).as_posix()[:-3]
        for function, node in nodes(ast.parse(path.read_text(encoding="utf-8")), ""):
            call = name_of(node)
            if call:
                yield f"{room}.{function}: {call}"


def nodes(tree: ast.AST, inside: str) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.iter_child_nodes(tree):
        named = isinstance(node, (ast.FunctionDef, ast.ClassDef))
        where = f"{inside}.{node.name}".lstrip(".") if named else inside  # type: ignore[attr-defined]
        yield where, node
        yield from nodes(node, where)


def name_of(node: ast.AST) -> str:
    """What takes a name, and is called in ``node`` or handed over to be called; empty when it is not by name."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return next((each.strip() for each in IN_SQL if node.value.upper().startswith(each)), "")
    if not isinstance(node, ast.Call) or BY_DESCRIPTOR & {str(each.arg) for each in node.keywords}:
        return ""
    called = next((name for each in (node.func, *node.args) if (name := taker(each))), "")
    behind = node.args[0] if node.args else None
    return "" if called in ("open", "io.FileIO") and is_descriptor(behind) else called


def taker(node: ast.AST) -> str:
    """The name of a function that takes a name."""
    if isinstance(node, ast.Name):
        return node.id if node.id == "open" else ""
    if not isinstance(node, ast.Attribute):
        return ""
    whose = ast.unparse(node.value)
    if whose in OF_MODULES:
        return f"{whose}.{node.attr}" if node.attr in OF_MODULES[whose] else ""
    return f"Path.{node.attr}" if node.attr in OF_PATHS and whose != "places" else ""


def is_descriptor(node: ast.AST | None) -> bool:
    """Whether it is what ``places`` or ``files`` opened, or called a descriptor."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("places.open_regular", "open_regular", "open_private", "_create")
    return isinstance(node, ast.Name) and node.id in ("descriptor", "reading", "writing")


def test_what_is_opened_by_name_is_known_and_safe() -> None:
    assert sorted(set(opened_by_name())) == sorted(each for places in ALLOWED.values() for each in places)
