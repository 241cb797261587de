# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile user does to root's runner, as Python for ``Ground.play``, and the table of it in docs/security.md."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.database import SIDECARS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"
COMMANDS = {
    "list": ("list", "agent"),
    "status": ("status", "agent"),
    "doctor": ("doctor", "agent"),
    "verify": ("verify", "agent", "--level", "full"),
    "verify --live": ("verify", "agent", "--live"),
    "restore": ("restore", "agent"),
    "restore --undo": ("restore", "agent", "--undo"),
    "backup": ("backup", "agent", "--no-prune"),
    "prune": ("prune", "agent"),
}
"""What root runs, one after the other, by the heading of its column."""

_LINKS = {
    "a link to a file of root's": "os.symlink(roots / 'secret', PATH)",
    "a dangling link": "os.symlink(roots / 'new', PATH)",
    "a fifo": "os.mkfifo(PATH)",
}
_A_DIRECTORY = {"a directory": "PATH.mkdir()"}
_A_LINK_TO_A_DIRECTORY = {"a link to a directory of root's": "os.symlink(roots, PATH)"}


def _put(what: str, path: str, kinds: dict[str, str]) -> dict[str, str]:
    """One trick for each of ``kinds``: whatever has the name ``path`` goes, and something else takes its place."""
    clear = f"path = {path}; (shutil.rmtree if path.is_dir() else os.unlink)(path) if os.path.lexists(path) else None; "
    return {f"{what} is {kind}": clear + trick.replace("PATH", "path") for kind, trick in kinds.items()}


_WORKPLACE = "workplace = theirs / '.agent.db.restoring'; "
_OWN_WORKPLACE = f"{_WORKPLACE}workplace.mkdir(0o700); "
_LOCK = "lock = workplace / 'lock'; "
BESIDE = {
    "`.agent.db.restoring` is a link to a directory of root's": f"{_WORKPLACE}os.symlink(roots, workplace)",
    "`.agent.db.restoring` is a file": f"{_WORKPLACE}workplace.write_text('')",
    "`.agent.db.restoring` is a fifo": f"{_WORKPLACE}os.mkfifo(workplace)",
    "`.agent.db.restoring` holds what no restore makes": f"{_OWN_WORKPLACE}(workplace / 'mine').mkdir()",
    "`.agent.db.restoring` is open to others": f"{_OWN_WORKPLACE}workplace.chmod(0o777)",
    "`.agent.db.restoring/lock` is a link to a file of root's": f"{_OWN_WORKPLACE}{_LOCK}"
    "os.symlink(roots / 'secret', lock)",
    "`.agent.db.restoring/lock` is a fifo": f"{_OWN_WORKPLACE}{_LOCK}os.mkfifo(lock)",
    **_put("`agent.db`", "theirs / 'agent.db'", {**_LINKS, **_A_DIRECTORY}),
    **{
        name: trick
        for suffix in SIDECARS
        for name, trick in _put(
            f"`agent.db{suffix}`", f"theirs / 'agent.db{suffix}'", {**_LINKS, **_A_DIRECTORY}
        ).items()
    },
    "an undo set is a link to a directory of root's": "os.symlink(roots, theirs / "
    "'agent.db.before-restore.20990101T000000Z')",
}
"""In the directory of the database, which is the user's."""

_FULL = "next(repository.glob('*-full'))"
IN_REPOSITORY = {
    **{
        name: trick
        for each in (".index", ".index/identity.json", ".locks", ".lock", "history.jsonl", "repository.json")
        for name, trick in _put(f"`{each}`", f"repository / '{each}'", {**_LINKS, **_A_LINK_TO_A_DIRECTORY}).items()
    },
    **{
        name: trick
        for each in ("manifest.json", "database.sqlite", "schema.sql", "checks.json", "pin.json")
        for name, trick in _put(f"`{each}` of a backup", f"{_FULL} / '{each}'", _LINKS).items()
    },
    "a backup is a link to a directory of root's": f"full = {_FULL}; full.rename(theirs / 'moved'); "
    "os.symlink(roots, full)",
    "a staging directory is a link to one of root's": "os.symlink(roots, repository / '.staging-x')",
    "the repository is a link to a directory of root's": "repository.rename(theirs / 'moved'); "
    "os.symlink(roots, repository)",
}
"""In the repository, which is the user's, too."""


LEAVE_LOG = """
import sqlite3
try:
    connection = sqlite3.connect(theirs / 'agent.db', timeout=0.1)
    connection.execute('PRAGMA journal_mode=wal')
    connection.execute("INSERT INTO item(name) VALUES ('in the log')")
    connection.commit()
except sqlite3.Error:
    pass
os._exit(0)
"""
"""A commit that is nowhere but in the log of a database of which nobody has it open."""


def journal_naming(path: Path) -> bytes:
    """A journal without pages that ends with the name of a super-journal, which is removed when it is rolled back.

    https://www.sqlite.org/fileformat2.html#the_rollback_journal
    """
    magic, name = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", os.fsencode(path)
    begin = (magic + struct.pack(">IIIII", 0, 1234, 1, 512, 4096)).ljust(512, b"\0")
    return begin + struct.pack(">I", 2**30 // 4096 + 1) + name + struct.pack(">II", len(name), sum(name)) + magic


def row(trick: str, codes: dict[str, int]) -> str:
    """A trick and what root's commands ended with, as a line of the table."""
    return " | ".join([f"| {trick}", *(str(codes[command]) for command in COMMANDS)]) + " |"


def documented() -> list[str]:
    """The lines of the tables in the document."""
    return [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
