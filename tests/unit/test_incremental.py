# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any sequence of writes, vacuums, changes of size and backups: every backup restores to exactly what there was."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.sites import Site, sha256

pytestmark = pytest.mark.usefixtures("nothing_is_small", "no_process_is_looked_at")

Step = Callable[[Site, sqlite3.Connection], None]
SETUP = "PRAGMA auto_vacuum=INCREMENTAL"


def _sql(text: str) -> Step:
    def step(_site: Site, connection: sqlite3.Connection) -> None:
        connection.executescript(text)

    return step


def _grow(rows: int) -> Step:
    numbers = f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {rows}) SELECT x FROM n"
    return _sql(f"INSERT INTO page(content) SELECT hex(randomblob(200)) FROM ({numbers})")


def _change(rows: int) -> Step:
    some = f"SELECT id FROM page ORDER BY random() LIMIT {rows}"
    return _sql(f"UPDATE page SET content = hex(randomblob(200)) WHERE id IN ({some})")


def _shrink(rows: int) -> Step:
    return _sql(f"DELETE FROM page WHERE id IN (SELECT id FROM page ORDER BY random() LIMIT {rows})")


def _come_and_go(site: Site, connection: sqlite3.Connection) -> None:
    """The application closes the database, and with it the log, and opens it again."""
    site.change(1)


STEPS = st.one_of(
    st.integers(1, 60).map(_grow),
    st.integers(1, 60).map(_change),
    st.integers(1, 60).map(_shrink),
    st.sampled_from(
        [
            _sql("VACUUM"),
            _sql("PRAGMA incremental_vacuum(5)"),
            _sql("PRAGMA wal_checkpoint(PASSIVE)"),
            _sql("PRAGMA wal_checkpoint(TRUNCATE)"),
            _sql("PRAGMA journal_mode=DELETE"),
            _sql("PRAGMA journal_mode=WAL"),
            _sql("CREATE TABLE IF NOT EXISTS more(a); DROP TABLE more"),
            _come_and_go,
        ]
    ),
)
TYPES = st.sampled_from(["auto", "auto", "auto", "incremental", "incremental", "full"])
HISTORIES = st.lists(st.tuples(st.lists(STEPS, max_size=4), TYPES), min_size=2, max_size=6)


def _without_counters(content: bytes) -> bytes:
    """SQLite's backup interface writes these anew, where it is used (docs/format.md)."""
    image = bytearray(content)
    for first, last in ((24, 27), (40, 43), (92, 99)):
        image[first : last + 1] = bytes(last + 1 - first)
    return bytes(image)


def _check(history: list[tuple[list[Step], str]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        site = Site(Path(scratch, "site"), existing=True)
        site.directory.mkdir()
        contents: dict[str, bytes] = {}
        with contextlib.closing(sqlite3.connect(site.database, isolation_level=None, timeout=10)) as connection:
            connection.executescript(
                f"PRAGMA page_size=512; {SETUP}; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
                "CREATE TABLE page(id INTEGER PRIMARY KEY, content TEXT NOT NULL)"
            )
            _grow(60)(site, connection)
            for steps, kind in history:
                for step in steps:
                    step(site, connection)
                outcome = site.back_up(type=kind)
                assert outcome.backup is not None
                assert outcome.error is None
                contents[outcome.backup.id] = _without_counters(site.settled())
        assert set(contents) == set(site.ids())
        for identity, content in contents.items():
            restored = _without_counters(site.restored(identity))
            assert sha256(restored) == sha256(content), identity
        assert site.verified("full") == ("passed", 0)


@pytest.mark.thorough
@settings(max_examples=20, deadline=None)
@given(HISTORIES)
def test_every_backup_of_a_short_history_restores_exactly(history: list[tuple[list[Step], str]]) -> None:
    _check(history)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(HISTORIES)
def test_every_backup_of_any_history_restores_exactly(history: list[tuple[list[Step], str]]) -> None:
    _check(history)
