# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a database another one than before, and what a host keeps to tell it of encrypted backups."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import identity
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.identity import Found, Standing
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.published import Backup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.proof import Proof
from support import manifests

GONE = "none of the tables is left"
OTHER = "its application_id is another one"


def found(*tables: str, application_id: object = 0) -> Found:
    return Found(application_id, frozenset(tables))


def proof(*tables: str, application_id: int = 0, uncounted: tuple[str, ...] = ()) -> Proof:
    return Proof("0" * 64, dict.fromkeys(tables, 1), {"application_id": application_id}, uncounted)


def backup_of(sequence: int, *, accepted: str = "", **changes: Any) -> Backup:
    document = manifests.example(id=f"20250102T03040{sequence}Z-full", sequence=sequence, **changes)
    return Backup(document.id, Path("/nowhere") / document.id, document, accepted=accepted)


@pytest.mark.parametrize(
    ("before", "after", "doubt"),
    [
        (found("item", "page"), found("item", "page"), ""),
        (found("item", "page"), found("item"), ""),
        (found("item", "page"), found("page", "renamed", "new"), ""),
        (found("item", "page"), found("ITEM"), ""),
        (found("item", "page"), found("other"), GONE),
        (found("item", "page"), found(), GONE),
        (found("item"), found(application_id=None), GONE),
        (found("item", application_id=7), found("item", application_id=8), OTHER),
        (found("item"), found("item", application_id=8), OTHER),
        (found("item", application_id=7), found("other", application_id=8), OTHER),
        # Older proofs, and a file of zero bytes, do not say it.
        (found("item", application_id=None), found("item", application_id=8), ""),
        # Where nothing was there is nothing to lose.
        (found(), found("item"), ""),
        (found(), found(), ""),
        (found(), found("item", application_id=8), ""),
    ],
)
def test_it_is_another_database(before: Found, after: Found, doubt: str) -> None:
    assert identity.difference(before.digested(), after) == doubt


def test_table_that_cannot_be_counted_here_is_one_that_is_left() -> None:
    after = identity.found_in(proof(uncounted=("item",)), manifests.example().image)
    assert identity.difference(found("item", "page").digested(), after) == ""


def test_digests_tell_nothing() -> None:
    """Neither names and numbers, nor that two backups have the same ones."""
    first, second = (found("item", "page", application_id=7).digested() for _each in range(2))
    assert not first.tables & second.tables
    assert first.application_id != second.application_id
    assert "item" not in str(first)
    assert first == found("page", "item", application_id=7).digested(first.salt)


# --- which backups are of it ---------------------------------------------------------------------------------------


def test_newest_accepted_backup_is_compared_with(tmp_path: Path) -> None:
    """Not the newest: who waits for the second run must not have said with the first that it is meant."""
    backups = [
        backup_of(1, proof=proof("old")),
        backup_of(2, proof=proof("item")),
        backup_of(3, proof=proof("other"), apart=True),
        backup_of(4, proof=None, suspect=True),
        backup_of(5, proof=proof("other"), apart=True),
    ]
    standing = Standing(tmp_path / "identity.json", backups)
    assert standing.accepted == backups[1]
    assert standing.apart == [backups[2], backups[4]]
    assert standing.doubt(found("item")) == ""
    assert standing.doubt(found("other")) == GONE
    assert standing.doubt(found("old")) == GONE


def test_what_was_accepted_is_what_counts(tmp_path: Path) -> None:
    backups = [
        backup_of(1, proof=proof("item")),
        backup_of(2, proof=proof("other"), apart=True, accepted="2025-01-02T03:04:05Z"),
    ]
    standing = Standing(tmp_path / "identity.json", backups)
    assert (standing.accepted, standing.apart) == (backups[1], [])
    assert standing.doubt(found("item")) == GONE
    assert standing.doubt(found("other")) == ""


def test_first_backup_is_compared_with_nothing(tmp_path: Path) -> None:
    damaged = dataclasses.replace(backup_of(1), manifest=None)
    for backups in ([], [damaged], [backup_of(2, proof=None, suspect=True)]):
        assert Standing(tmp_path / "identity.json", backups).doubt(found("item")) == ""


def test_what_is_held_apart_stays_so_when_nothing_is_left_to_compare_with(tmp_path: Path) -> None:
    """Its old backups were removed by hand: nobody has said that the new database is meant."""
    standing = Standing(tmp_path / "identity.json", [backup_of(3, proof=proof("other"), apart=True)])
    assert standing.doubt(found("other")) == identity.UNTOLD


# --- what encrypted backups do not tell ----------------------------------------------------------------------------


def test_of_encrypted_backups_the_host_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / ".index" / "identity.json"
    first, second = backup_of(1, proof=None), backup_of(2, proof=None, apart=True)
    Standing(path, []).keep(first.id, found("item"))
    assert Standing(path, [first]).doubt(found("item", "more")) == ""
    assert Standing(path, [first]).doubt(found("other")) == GONE
    Standing(path, [first]).keep(second.id, found("other"))
    # A run that was killed has kept it of a backup that is not there.
    assert Standing(path, [first]).doubt(found("other")) == GONE
    assert Standing(path, [first, second]).doubt(found("other")) == GONE
    accepted = dataclasses.replace(second, accepted="2025-01-02T03:04:05Z")
    assert Standing(path, [first, accepted]).doubt(found("other")) == ""
    assert Standing(path, [first, accepted]).doubt(found("item")) == GONE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "item" not in path.read_text(encoding="utf-8")


_ENDLESS = b'{"20250102T030401Z-full": {"salt": "", "application_id": null, "tables": ["x"], "rows": {"x": 1e999}}}'


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null", b'{"20250102T030401Z-full": 7}', b"\xff\xfe", _ENDLESS])
def test_without_what_was_kept_there_is_no_false_alarm(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.json"
    backups = [backup_of(1, proof=None)]
    assert Standing(path, backups).doubt(found("other")) == ""
    path.write_bytes(content)
    assert Standing(path, backups).doubt(found("other")) == ""
    # But what was held apart stays so.
    backups.append(backup_of(2, proof=None, apart=True))
    assert Standing(path, backups).doubt(found("other")) == identity.UNTOLD
