# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make test` runs every part to its end, and its last lines name what failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import everything
from support.everything import Part

pytestmark = pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs wait4(2)")

PASSED = "=== 5 passed in 0.01s ==="
CLOSING = f"print('.....'); print({PASSED!r})"


def python(name: str, code: str) -> Part:
    return Part(name, (sys.executable, "-c", code))


def test_all_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert everything.run([python("lint", "print('fine')"), python("closing", CLOSING)], tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == PASSED
    assert "FAILED" not in "".join(lines)
    assert (tmp_path / "lint.log").read_text() == "fine\n"


def test_what_fails_is_named_and_keeps_no_other_from_running(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = "print('it is broken'); raise SystemExit(3)"
    marks = [python(f"unit({number})", f"open({str(tmp_path / str(number))!r}, 'w')") for number in range(5)]
    parts = [python("sanity(2.18)", bad), python("molecule", bad), *marks, python("closing", CLOSING)]
    assert everything.run(parts, tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["FAILED: molecule, sanity(2.18)", PASSED]
    assert lines.count("it is broken") == 2
    assert all((tmp_path / str(number)).exists() for number in range(5))


def test_closing_run_that_fails_is_named_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = "=== 1 failed, 4 passed in 0.01s ==="
    assert everything.run([python("closing", f"print({failed!r}); raise SystemExit(1)")], tmp_path) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == ["FAILED: closing", failed]


def test_what_nox_skipped_is_told_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.dumps({"sessions": [{"result": "skipped", "reason": "Python 3.14 not found"}]})
    skipped = python("unit(3.14)", f"open({str(tmp_path / 'unit-3-14.json')!r}, 'w').write({report!r})")
    assert everything.run([skipped, python("closing", CLOSING)], tmp_path) == 0
    assert "skipped" in (out := capsys.readouterr().out)
    assert "Python 3.14 not found" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_stops_it_stops_the_parts(tmp_path: Path, number: signal.Signals) -> None:
    part = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(60)"
    code = (
        f"import sys; sys.path.insert(0, {str(Path(everything.__file__).parents[1])!r})\n"
        "from pathlib import Path; from support import everything\n"
        f"import signal; signal.signal({int(number)}, everything._interrupt)\n"
        f"parts = [everything.Part('closing', (sys.executable, '-c', {part!r}))]\n"
        f"everything.run(parts, Path({str(tmp_path)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        log = tmp_path / "closing.log"
        end = time.monotonic() + 30
        while not (log.exists() and log.read_text().endswith("\n")):
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(timeout=30) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text().split()[0]), 0)


def test_older_core_is_asked_for_what_it_may_read_otherwise() -> None:
    older, newest = (everything.session("sanity(x)", is_newest=each).command for each in (False, True))
    assert "--test=validate-modules" in older
    assert "--test=import" in older
    assert not any(each.startswith("--test") for each in newest)


@pytest.mark.parametrize(
    ("name", "shorter"), [("unit(3.9)", True), ("integration(2.18)", True), ("sanity(2.18)", False), ("lint", False)]
)
def test_what_no_version_does_otherwise_is_for_the_closing_run(name: str, shorter: bool) -> None:
    command = everything.session(name).command
    assert command[command.index("--session") + 1] == name
    assert (command[-3:] == ("--", "-m", "not slow and not thorough")) is shorter
