# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back up two live databases with the collection's playbooks, lose them, bring them back, and prove it.

`make demo` starts it. It needs no root and no server, and everything happens in one temporary folder. The exit code
is 0 only when every proof held.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "support"))

import agent_db
import demo_databases as databases
import writer
from ansible_run import Ansible, DemoError
from report import Report, size

AGENT_BYTES = 24 << 20
# Long enough that the rate of commits means something.
WARM_UP_SECONDS = 0.5
FAILED, INTERRUPTED = 1, 130


class Demo:
    """The story, one method a chapter; what later chapters need is kept in attributes."""

    def __init__(self, folder: Path, given: Path | None) -> None:
        self.report = Report()
        self._given = given
        self._agent = folder / "service" / (given.name if given else "agent.db")
        self._metrics = folder / "monitor" / "metrics.db"
        self._repositories = {path: folder / "backups" / path.parent.name for path in (self._agent, self._metrics)}
        self._journal = folder / "commits.txt"
        self._ansible = Ansible(folder / "ansible")
        for path in self._repositories:
            path.parent.mkdir()
        self._info: list[dict[str, Any]] = []  # of the repositories, after the last backup
        self._proven: dict[Path, dict[str, Any]] = {}  # what the last backup of each database promises
        self._ruined: dict[str, str] = {}
        self._late_commits = 0
        self._lost_at = 0.0
        self._written = writer.Report(0, 0, None, None)
        # The writer's newest commit before and after the playbooks ran.
        self._before_first = self._before_last = self._after_last = 0

    def play(self) -> None:
        self._make_databases()
        with writer.running_writer(self._agent, journal=self._journal) as running:
            self._watch_writer(running)
            self._back_up(running)
            self._back_up_again(running)
            self._lose(running)
        self._restore_missing()
        self._restore_ruined()
        self._undo_and_redo()
        self._verify()
        self._examine()
        self._tell_loss()

    # --- before the loss ---

    def _make_databases(self) -> None:
        with self.report.step("Make the databases") as step:
            if self._given is None:
                agent_db.fill_to(self._agent, AGENT_BYTES)
                origin = "agent runs, errors, fixes and metrics, in WAL mode"
            else:
                mode = databases.copy(self._given, self._agent)
                origin = f"a copy, in WAL mode (the original is in mode {mode})"
            step.tell(f"{self._agent.name}: {size(self._agent.stat().st_size)}, {origin}")
            databases.make_metrics(self._metrics)
            step.tell(f"{self._metrics.name}: {size(self._metrics.stat().st_size)}, in WAL mode; nothing writes to it")

    def _watch_writer(self, running: writer.RunningWriter) -> None:
        with self.report.step("Start the writer") as step:
            before, began = running.last, time.monotonic()
            time.sleep(WARM_UP_SECONDS)
            rate = (running.last - before) / (time.monotonic() - began)
            step.tell(f"commits to {self._agent.name} without pause: {rate:,.0f} times a second")

    def _back_up(self, running: writer.RunningWriter) -> None:
        with self.report.step("Back up both while it commits") as step:
            self._before_first = before = running.last
            results = self._backup_results("demo, first run")
            for path, result in results.items():
                backup = result["backup"]
                sizes = f"{size(backup['database_bytes'])} stored as {size(backup['stored_bytes'])}"
                step.tell(f"{path.name}: {backup['type']}, {sizes}, in {sum(backup['durations'].values()):.2f} s")
            step.tell(f"the writer committed {running.last - before:,} times meanwhile")

    @staticmethod
    def _what_was_stored(result: dict[str, Any]) -> str:
        if not result["changed"]:
            return "not changed, so nothing is stored"
        backup = result["backup"]
        stored = f"{backup['type']}, {size(backup['stored_bytes'])} stored"
        return f"{stored} for {backup['changed_pages']:,} of {backup['page_count']:,} pages"

    def _back_up_again(self, running: writer.RunningWriter) -> None:
        with self.report.step("Back up both again") as step:
            self._before_last = running.last
            results = self._backup_results("demo, second run")
            self._after_last = running.last
            self._proven = {path: result["backup"] for path, result in results.items()}
            held = {repository["name"]: repository for repository in self._info}
            for path, result in results.items():
                happened = self._what_was_stored(result)
                age = held[self._repositories[path].name]["age_seconds"]
                step.tell(f"{path.name}: {happened}; its age for the RPO is {age:.0f} s")
        kept = {path: len(held[repository.name]["backups"]) for path, repository in self._repositories.items()}
        as_meant = results[self._agent]["changed"] and not results[self._metrics]["changed"]
        self.report.prove(
            "The second run stored only what had changed",
            held=as_meant and kept == {self._agent: 2, self._metrics: 1},
            evidence=f"backups after both runs: {', '.join(f'{path.name} {count}' for path, count in kept.items())}",
        )

    def _backup_results(self, reason: str) -> dict[Path, dict[str, Any]]:
        entries = [
            {"path": str(path), "repository": str(repository), "name": repository.name, "reason": reason}
            for path, repository in self._repositories.items()
        ]
        repositories = [str(repository) for repository in self._repositories.values()]
        answer = self._ansible.run(
            "backup_databases", {"sqlite_backup_databases": entries, "demo_repositories": repositories}
        )
        self._info = answer["info"]["repositories"]
        return dict(zip(self._repositories, answer["backup"]["results"]))

    def _lose(self, running: writer.RunningWriter) -> None:
        with self.report.step("Lose both") as step:
            self._lost_at = time.time()
            self._written = running.stop()
            databases.delete(self._agent)
            step.tell(f"{self._agent.name}: deleted, with its -wal and -shm")
            self._late_commits = databases.ruin(self._metrics)
            self._ruined = databases.digests(self._metrics)
            rest = databases.integrity(self._metrics)
            step.tell(f"{self._metrics.name}: garbage beside the -wal of a killed process", f"  SQLite: {rest}")
        self.report.prove(
            "The writer never had to wait",
            held=self._written.busy == 0,
            evidence=f"{self._written.commits:,} commits, {self._written.busy} times SQLITE_BUSY",
        )

    # --- after the loss ---

    def _restore(self, path: Path, **options: Any) -> dict[str, Any]:
        variables = {"dest": str(path), "repository": str(self._repositories[path]), **options}
        answer = self._ansible.run("restore_database", {f"sqlite_restore_{k}": v for k, v in variables.items()})
        result: dict[str, Any] = answer["restore"]["restore"]
        return result

    def _restore_missing(self) -> None:
        with self.report.step(f"Restore {self._agent.name}") as step:
            result = self._restore(self._agent)
            step.tell(f"from {result['backup']}, in {sum(result['durations'].values()):.2f} s")
        self._prove_image(self._agent)

    def _restore_ruined(self) -> None:
        with self.report.step(f"Restore {self._metrics.name}") as step:
            result = self._restore(self._metrics)
            step.tell(f"from {result['backup']}; the garbage and its -wal are kept in an undo set")
            leaked = writer.HEARTBEAT in databases.tables(self._metrics)
        self.report.prove(
            f"The stale -wal did not get into {self._metrics.name}",
            held=not leaked,
            evidence=f"the table that the killed process made is {'there' if leaked else 'not there'}",
        )

    def _undo_and_redo(self) -> None:
        with self.report.step("Undo that restore, redo it") as step:
            self._restore(self._metrics, undo=True)
            undone = databases.digests(self._metrics)
            self._restore(self._metrics)
            step.tell(f"undo brought {len(undone)} files back, then the backup replaced them again")
        # The -shm is SQLite's scratch memory: whoever opens the database may make it anew.
        wanted = {name: value for name, value in self._ruined.items() if not name.endswith("-shm")}
        self.report.prove(
            "Undo brought back what had been replaced",
            held={name: undone.get(name) for name in wanted} == wanted,
            evidence=f"sha256 of {' and '.join(wanted)}",
        )
        self._prove_image(self._metrics)

    def _prove_image(self, path: Path) -> None:
        promised, found = self._proven[path]["sha256"], databases.digest(path)
        self.report.prove(
            f"{path.name} is the image that was backed up",
            held=promised == found,
            evidence=f"sha256 {found[:16]}..., the backup's: {promised[:16]}...",
        )

    def _verify(self) -> None:
        with self.report.step("Verify with the playbook") as step:
            entries = [
                {"repository": str(self._repositories[self._agent]), "backup": "all", **self._expected_commits()},
                {"repository": str(self._repositories[self._metrics]), "backup": "all", "expect_tables": ["Sample"]},
                {"path": str(self._agent)},
                {"path": str(self._metrics)},
            ]
            results = self._ansible.run("verify_backups", {"sqlite_verify_repositories": entries})["verify"]["results"]
            checks = [check for result in results for check in result["verification"]["checks"]]
            step.tell(f"2 repositories and 2 databases at level full: {len(checks)} checks")
        self.report.prove(
            "sqlite_verify finds all of it sound",
            held=all(result["verification"]["outcome"] == "passed" for result in results),
            evidence=", ".join(result["verification"]["outcome"] for result in results),
        )

    def _expected_commits(self) -> dict[str, Any]:
        """What each backup must hold at the least: the commits made before the first one began."""
        if writer.HEARTBEAT in databases.tables(self._agent):
            table, numbered = writer.HEARTBEAT, "counter"
        else:
            table, numbered = "Metric", f"name = '{writer.METRIC}' AND value"
        sql = f"SELECT count(*) FROM {table} WHERE {numbered} <= {self._before_first}"
        return {"expect_tables": [table], "assertions": [{"sql": sql, "equals": self._before_first}]}

    def _examine(self) -> None:
        with self.report.step("Examine with sqlite3 alone") as step:
            for path, backup in self._proven.items():
                found = databases.integrity(path)
                rows = databases.rows_per_table(path, list(backup["tables"]))
                differing = sorted(table for table, count in backup["tables"].items() if rows[table] != count)
                step.tell(f"{path.name}: {sum(rows.values()):,} rows in {len(rows)} table(s)")
                self.report.prove(
                    f"{path.name} is sound and has all its rows",
                    held=found == "ok" and not differing and bool(rows),
                    evidence=f"integrity_check: {found}; row counts that differ: {', '.join(differing) or 'none'}",
                )

    def _tell_loss(self) -> None:
        commits, last = writer.commits_in(self._agent), self._written.last or 0
        restored = commits.last or 0
        self.report.prove(
            "Every commit from before the last backup is back",
            held=commits.whole and self._before_last <= restored <= self._after_last,
            evidence=f"{self._before_last:,} before it began; 1 to {restored:,} are back"
            + ("" if commits.whole else ", but some are missing or there in part"),
        )
        age = self._lost_at - (commits.last_at or 0)
        late = f"the {self._late_commits:,} of the killed process to {self._metrics.name}"
        self.report.closing += [
            f"Lost: {last - restored:,} of {last:,} commits to {self._agent.name}, those of its last {age:.1f} s,",
            f"and {late}: they were made after the last backup.",
        ]


@contextlib.contextmanager
def temporary_folder(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sqliteops-demo-"))
    print(f"Everything happens in {folder}, which is {'kept' if keep else 'removed at the end'}.", flush=True)
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{folder} is {'still there' if folder.exists() else 'removed'}.", flush=True)


def _interrupt(*_signal: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # an impatient second one must not stop the clearing up
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description="Back up two live databases, lose them, bring them back, prove it.")
    parser.add_argument("--database", type=Path, help="work with a copy of this database instead of one made up")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with temporary_folder(keep=options.keep) as folder:
            demo = Demo(folder, options.database)
            demo.play()
            print(demo.report.text(), flush=True)
            return 0 if demo.report.passed else FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except (DemoError, RuntimeError) as error:
        print(f"\n{error}\nThe demo could not go on, and proved nothing.", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
