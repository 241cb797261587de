# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a database like the `agent.db` of a CI-fixing service that uses Prisma.

The tables, their column types and their indexes are what Prisma would create on SQLite; the content is invented,
looks real, and is the same for the same seed. Some index keys are random (fingerprints), so a small change touches
pages all over the file, as it does in real life.

    python3 tests/support/agent_db.py agent.db --runs 500
    python3 tests/support/agent_db.py agent.db --mebibytes 256
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Union

SCHEMA = """
CREATE TABLE "_prisma_migrations" (
    "id"                    TEXT PRIMARY KEY NOT NULL,
    "checksum"              TEXT NOT NULL,
    "finished_at"           DATETIME,
    "migration_name"        TEXT NOT NULL,
    "logs"                  TEXT,
    "rolled_back_at"        DATETIME,
    "started_at"            DATETIME NOT NULL DEFAULT current_timestamp,
    "applied_steps_count"   INTEGER UNSIGNED NOT NULL DEFAULT 0
);
CREATE TABLE "AgentRun" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "repository" TEXT NOT NULL,
    "branch" TEXT NOT NULL,
    "commitSha" TEXT NOT NULL,
    "status" TEXT NOT NULL DEFAULT 'queued',
    "state" TEXT NOT NULL,
    "createdAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" DATETIME NOT NULL
);
CREATE TABLE "ErrorFact" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "runId" TEXT NOT NULL,
    "fingerprint" TEXT NOT NULL,
    "category" TEXT NOT NULL,
    "summary" TEXT NOT NULL,
    "filePath" TEXT NOT NULL,
    "logExcerpt" TEXT,
    "status" TEXT NOT NULL DEFAULT 'open',
    "createdAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "ErrorFact_runId_fkey" FOREIGN KEY ("runId") REFERENCES "AgentRun" ("id")
        ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE "FixAttempt" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "runId" TEXT NOT NULL,
    "iteration" INTEGER NOT NULL,
    "action" TEXT NOT NULL,
    "success" BOOLEAN NOT NULL,
    "durationMs" INTEGER NOT NULL,
    "filesChanged" TEXT NOT NULL DEFAULT '[]',
    "diff" TEXT,
    "createdAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "FixAttempt_runId_fkey" FOREIGN KEY ("runId") REFERENCES "AgentRun" ("id")
        ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE "LearningPattern" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "fingerprint" TEXT NOT NULL,
    "category" TEXT NOT NULL,
    "fixTemplate" TEXT NOT NULL,
    "timesApplied" INTEGER NOT NULL DEFAULT 0,
    "successRate" REAL NOT NULL DEFAULT 0.0,
    "lastUsedAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE "Metric" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "runId" TEXT,
    "name" TEXT NOT NULL,
    "value" REAL NOT NULL,
    "labels" TEXT NOT NULL DEFAULT '{}',
    "recordedAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "Metric_runId_fkey" FOREIGN KEY ("runId") REFERENCES "AgentRun" ("id")
        ON DELETE SET NULL ON UPDATE CASCADE
);
CREATE INDEX "AgentRun_status_createdAt_idx" ON "AgentRun"("status", "createdAt");
CREATE INDEX "AgentRun_commitSha_idx" ON "AgentRun"("commitSha");
CREATE INDEX "ErrorFact_runId_status_idx" ON "ErrorFact"("runId", "status");
CREATE INDEX "ErrorFact_fingerprint_idx" ON "ErrorFact"("fingerprint");
CREATE INDEX "FixAttempt_runId_iteration_idx" ON "FixAttempt"("runId", "iteration");
CREATE UNIQUE INDEX "LearningPattern_fingerprint_key" ON "LearningPattern"("fingerprint");
CREATE INDEX "Metric_name_recordedAt_idx" ON "Metric"("name", "recordedAt");
CREATE INDEX "Metric_runId_idx" ON "Metric"("runId");
"""

MIGRATIONS = ("20250106091412_init", "20250211154033_fix_attempts", "20250430080027_learning_patterns")
REPOSITORIES = ("shop/checkout", "shop/catalogue", "platform/gateway", "platform/scheduler", "web/storefront")
BRANCHES = ("main", "develop", "release/4.2", "renovate/all", "feature/new-checkout")
CATEGORIES = {
    "type_error": "TS2345: Argument of type 'string | undefined' is not assignable to parameter of type 'string'.",
    "test_failure": "expect(received).toEqual(expected) // deep equality",
    "dependency": "npm ERR! ERESOLVE could not resolve: conflicting peer dependency react@18.3.1",
    "lint": "error  'response' is assigned a value but never used  @typescript-eslint/no-unused-vars",
    "timeout": "Error: The job exceeded the maximum execution time of 20 minutes.",
    "snapshot": "» 1 snapshot failed from 1 test suite. Inspect your code changes.",
}
FILES = ("src/cart/total.ts", "src/api/client.ts", "src/server/routes.ts", "test/cart.spec.ts", "package.json")
LOG_LINES = (
    "[{time}] PASS  {file} ({number} ms)",
    "[{time}] FAIL  {file} » case {number}: expected {hex}",
    "[{time}] npm notice fetched package {hex} in {number} ms",
    "[{time}] at Object.<anonymous> ({file}:{number}:13)",
    "[{time}] ##[group]Run actions/cache restore key node-{hex}",
)
STATUSES = ("success", "success", "success", "failed", "stopped")
ACTIONS = ("edit", "edit", "command", "search")
METRICS = ("run.duration_seconds", "run.tokens", "queue.length")

EPOCH_MS = 1735689600000  # 2025-01-01T00:00:00Z; Prisma keeps DATETIME on SQLite as milliseconds
RUN_INTERVAL_MS = 90_000
LEARNED_SHARE = 0.15  # of the errors
RUNS_PER_BATCH = 500  # large transactions: a commit for each run would be a hundred times slower
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

Row = tuple[Any, ...]
AnyPath = Union[str, "os.PathLike[str]"]


class Batch(NamedTuple):
    """Rows to insert together, one list for each table."""

    runs: list[Row]
    errors: list[Row]
    attempts: list[Row]
    patterns: list[Row]
    metrics: list[Row]


# In the order of Batch.
INSERTS = tuple(
    f'INSERT INTO "{table}" VALUES ({", ".join("?" * columns)})'
    for table, columns in (("AgentRun", 8), ("ErrorFact", 9), ("FixAttempt", 9), ("LearningPattern", 7), ("Metric", 6))
)


class Generator:
    """Endless rows that depend on the seed alone. `first_run` goes on in time behind as many runs."""

    def __init__(self, seed: int, *, first_run: int = 0) -> None:
        self._random = random.Random(seed)
        self._ids = 0
        self._runs = first_run

    def batch(self, runs: int) -> Batch:
        rows = Batch([], [], [], [], [])
        for _unused in range(runs):
            self._run(rows)
        return rows

    def identifier(self, milliseconds: int) -> str:
        """Like a cuid: sorted by time at first, random at the end."""
        self._ids += 1
        return f"c{_base36(milliseconds, 8)}{_base36(self._ids % 36**4, 4)}{_base36(self._random.getrandbits(60), 12)}"

    def fingerprint(self) -> str:
        return self._random.randbytes(20).hex()

    def checksum(self) -> str:
        return self._random.randbytes(32).hex()

    def _run(self, rows: Batch) -> None:
        pick, when = self._random, EPOCH_MS + self._runs * RUN_INTERVAL_MS
        self._runs += 1
        run, status = self.identifier(when), pick.choice(STATUSES)
        attempts = pick.randint(1, 6)
        duration = pick.randint(4_000, 80_000)
        state = {"iteration": attempts, "phase": status, "log": self._log(when, 14), "files": list(FILES[:attempts])}
        source = (pick.choice(REPOSITORIES), pick.choice(BRANCHES), self.fingerprint())
        rows.runs.append((run, *source, status, json.dumps(state), when, when + duration))
        for _unused in range(pick.randint(1, 4)):
            self._error(rows, run=run, when=when)
        for iteration in range(attempts):
            self._attempt(rows, run=run, when=when + iteration * 900, iteration=iteration)
        for name in METRICS:
            value = round(pick.random() * duration / 100, 3)
            rows.metrics.append((self.identifier(when), run, name, value, '{"host": "ci-1"}', when))

    def _error(self, rows: Batch, *, run: str, when: int) -> None:
        pick, fingerprint = self._random, self.fingerprint()
        category = pick.choice(tuple(CATEGORIES))
        fact = (fingerprint, category, CATEGORIES[category], pick.choice(FILES), self._log(when, 8))
        rows.errors.append((self.identifier(when), run, *fact, pick.choice(("open", "resolved")), when))
        if pick.random() < LEARNED_SHARE:
            template = json.dumps({"action": pick.choice(ACTIONS), "edits": [{"file": pick.choice(FILES)}]})
            learned = (fingerprint, category, template, pick.randint(1, 90), round(pick.random(), 4))
            rows.patterns.append((self.identifier(when), *learned, when))

    def _attempt(self, rows: Batch, *, run: str, when: int, iteration: int) -> None:
        pick = self._random
        file, number = pick.choice(FILES), pick.randint(1, 400)
        diff = f"--- a/{file}\n+++ b/{file}\n@@ -{number} +{number} @@\n-  return {number};\n+  return {number + 1};\n"
        attempt = (iteration, pick.choice(ACTIONS), pick.randint(0, 1), pick.randint(300, 90_000), json.dumps([file]))
        rows.attempts.append((self.identifier(when), run, *attempt, diff, when))

    def _log(self, when: int, lines: int) -> str:
        pick = self._random
        return "\n".join(
            pick.choice(LOG_LINES).format(
                time=when + line * 37,
                file=pick.choice(FILES),
                number=pick.randint(1, 9_999),
                hex=pick.randbytes(6).hex(),
            )
            for line in range(lines)
        )


def _base36(number: int, width: int) -> str:
    digits = ""
    for _unused in range(width):
        number, digit = divmod(number, 36)
        digits = DIGITS[digit] + digits
    return digits


def create(path: AnyPath, *, runs: int = 500, seed: int = 1, journal_mode: str = "wal", page_size: int = 4096) -> None:
    """Make a new database with this many agent runs, about 6 KiB each with all that belongs to them.

    Raises FileExistsError rather than adding to a file that is there.
    """
    with _making(path, journal_mode=journal_mode, page_size=page_size) as connection:
        generator = _start(connection, seed)
        for done in range(0, runs, RUNS_PER_BATCH):
            _insert(connection, generator.batch(min(RUNS_PER_BATCH, runs - done)))


def fill_to(path: AnyPath, size_bytes: int, *, seed: int = 1, journal_mode: str = "wal", page_size: int = 4096) -> None:
    """Make a new database of at least `size_bytes`, and at the most one batch (3 MiB) more.

    Raises FileExistsError rather than adding to a file that is there.
    """
    with _making(path, journal_mode=journal_mode, page_size=page_size) as connection:
        generator = _start(connection, seed)
        while _size_bytes(connection) < size_bytes:
            _insert(connection, generator.batch(RUNS_PER_BATCH))


@contextmanager
def _making(path: AnyPath, *, journal_mode: str, page_size: int) -> Iterator[sqlite3.Connection]:
    Path(path).touch(exist_ok=False)  # never add to somebody's database by mistake
    with closing(sqlite3.connect(os.fspath(path), isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {page_size:d}")
        # Nothing to protect while the file is being made, and random-key indexes want room in memory.
        for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -131072", "foreign_keys = off"):
            connection.execute(f"PRAGMA {pragma}")
        yield connection
        (actual,) = connection.execute(f"PRAGMA journal_mode = {journal_mode}").fetchone()
        if actual != journal_mode.lower():
            raise ValueError(f"Cannot set journal mode {journal_mode} on {os.fspath(path)}: it is {actual}")


def _start(connection: sqlite3.Connection, seed: int) -> Generator:
    generator = Generator(seed)
    connection.executescript(SCHEMA)
    columns = "id, checksum, finished_at, migration_name, started_at, applied_steps_count"
    connection.executemany(
        f"INSERT INTO _prisma_migrations ({columns}) VALUES (?, ?, ?, ?, ?, ?)",
        [(generator.identifier(EPOCH_MS), generator.checksum(), EPOCH_MS, name, EPOCH_MS, 1) for name in MIGRATIONS],
    )
    return generator


def _insert(connection: sqlite3.Connection, batch: Batch) -> None:
    connection.execute("BEGIN")
    for statement, rows in zip(INSERTS, batch):
        connection.executemany(statement, rows)
    connection.execute("COMMIT")


def _size_bytes(connection: sqlite3.Connection) -> int:
    (size,) = connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
    return int(size)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a database like the agent.db of a CI-fixing service.")
    parser.add_argument("path", type=Path, help="the file to make; it must not exist")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--runs", type=int, default=500, help="agent runs, about 6 KiB each (default: %(default)s)")
    size.add_argument("--mebibytes", type=int, help="make the file at least this large instead")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same content (default: %(default)s)")
    parser.add_argument("--journal-mode", default="wal", choices=("wal", "delete", "truncate", "persist"))
    parser.add_argument("--page-size", type=int, default=4096, help="bytes (default: %(default)s)")
    options = parser.parse_args()
    shape = {"seed": options.seed, "journal_mode": options.journal_mode, "page_size": options.page_size}
    try:
        if options.mebibytes is None:
            create(options.path, runs=options.runs, **shape)
        else:
            fill_to(options.path, options.mebibytes * 1024 * 1024, **shape)
    except FileExistsError:
        print(f"{options.path} exists; this program only makes new databases", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
