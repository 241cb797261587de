# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that carry files: they end, whatever happens, and what may pass is tried again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.pipeline import ProgramFailedError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    ProgramMissingError,
    RefusedError,
    TargetUnreachableError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets import programs
from support import leftovers

NEVER = Deadline(None)


def run(code: str, *, deadline: Deadline = NEVER, **options: Any) -> bytes:
    return programs.output_of([sys.executable, "-c", code], environment={}, deadline=deadline, **options)


def test_output_and_input_are_those_of_the_program() -> None:
    assert run("import sys; print(sys.stdin.read()[::-1], end='')", given=b"abc" * 100_000) == b"cba" * 100_000


def test_program_that_reads_nothing_may_end_well() -> None:
    assert run("print(1)", given=b"x" * 1_000_000) == b"1\n"


def test_failure_tells_what_the_program_said_last() -> None:
    with pytest.raises(ProgramFailedError) as caught:
        run("import sys; print('x' * 100_000, file=sys.stderr); print('why', file=sys.stderr); sys.exit(7)")
    assert caught.value.exit_code == 7
    assert caught.value.said.endswith("why")
    assert len(caught.value.said) < 10_000


def test_exit_codes_may_be_fine() -> None:
    assert run("import sys; print(1); sys.exit(3)", fine=(0, 3)) == b"1\n"


def test_missing_program_is_named() -> None:
    with pytest.raises(ProgramMissingError, match="no-such-program is not installed"):
        programs.output_of(["no-such-program"], environment={}, deadline=NEVER)


def test_deadline_ends_the_program_and_its_children() -> None:
    before = leftovers.children()
    child = f"import subprocess, sys; subprocess.run([{sys.executable!r}, '-c', 'import time; time.sleep(60)'])"
    began = time.monotonic()
    with pytest.raises(TargetUnreachableError, match="timeout"):
        run(child, deadline=Deadline(0.5))
    assert time.monotonic() - began < 10
    assert leftovers.children() == before


def test_passed_deadline_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(TargetUnreachableError, match="timeout"):
        run(f"open({str(tmp_path / 'ran')!r}, 'w')", deadline=Deadline(0))
    assert not (tmp_path / "ran").exists()


def test_watch_ends_the_program_by_raising() -> None:
    def watch() -> None:
        raise RefusedError("enough.")

    with pytest.raises(RefusedError, match="enough"):
        run("import time; time.sleep(60)", watch=watch)


def test_endless_output_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MOST_OUTPUT_BYTES", 1000)
    with pytest.raises(RefusedError, match="more than 1000 bytes"):
        run("print('x' * 100_000)")


def test_lines_are_heard_as_they_come() -> None:
    heard: list[bytes] = []
    run(r"import sys; print('a\rb'); print('c', file=sys.stderr)", hear=heard.append)
    assert sorted(heard) == [b"a", b"b", b"c"]


def test_settings_of_rclone_for_people_do_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCLONE_CONFIG_TARGET_ENDPOINT", "http://elsewhere")
    assert b"RCLONE" not in run("import os; print(os.environ)")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between tries; nobody waits."""
    found: list[float] = []
    monkeypatch.setattr(programs.time, "sleep", found.append)
    return found


def failing(times: int) -> Callable[[], str]:
    """Work that fails so often, and then succeeds."""
    left = [times]

    def work() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise ProgramFailedError("rsync", 12, f"{left[0]} left")
        return "done"

    return work


def test_what_may_pass_is_tried_again_after_longer_and_longer_waits(waits: list[float]) -> None:
    assert programs.persistently(failing(3), tries=4, deadline=NEVER, may_pass=lambda _error: True) == "done"
    assert waits == [1.0, 2.0, 4.0]


def test_last_try_fails_with_its_own_error(waits: list[float]) -> None:
    with pytest.raises(ProgramFailedError, match="0 left"):
        programs.persistently(failing(3), tries=3, deadline=NEVER, may_pass=lambda _error: True)
    assert waits == [1.0, 2.0]


def test_what_does_not_pass_is_not_tried_again(waits: list[float]) -> None:
    with pytest.raises(ProgramFailedError, match="2 left"):
        programs.persistently(failing(3), tries=9, deadline=NEVER, may_pass=lambda _error: False)
    assert waits == []


def test_no_wait_goes_beyond_the_deadline(waits: list[float]) -> None:
    with pytest.raises(ProgramFailedError):
        programs.persistently(failing(3), tries=9, deadline=Deadline(0.5), may_pass=lambda _error: True)
    assert waits == []
