# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module sqlite_restore_drill: check, run, run, broken; of a repository and of a target."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from integration import harness
from integration.harness import Result, Session
from integration.place import Place, error_code, everything, stored

from support import databases

MODULE = "sqlite_restore_drill"


def _drill(ansible: Session, place: Place, *, check_mode: bool = False, **options: Any) -> Result:
    given = {"repository": str(place.repository), **options}
    return ansible.task(MODULE, given, check_mode=check_mode)


def test_good_backup_passes_and_nothing_but_notes_is_written(ansible: Session, place: Place) -> None:
    backup = place.backed_up()
    before, around = stored(place.repository), everything(place.directory)
    check = _drill(ansible, place, check_mode=True, rto="15m")
    assert (check["changed"], check["drill"]["backup"], check["drill"]["outcome"]) == (False, backup.name, "")
    assert everything(place.directory) == around
    assertion = {"sql": "SELECT count(*) FROM item", "equals": 3}
    for number in (1, 2):
        run = _drill(ansible, place, rto="15m", rpo="1h", expect_tables=["item"], assertions=[assertion])
        drill = run["drill"]
        assert (run["changed"], drill["outcome"], drill["rto_met"], drill["rpo_met"]) == (False, "passed", True, True)
        assert [drill] == run["drills"]
        assert len(drill["history"]) == number
    after = stored(place.repository)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {f"{backup.name}/checks.json", "history.jsonl"}


def test_command_repeats_the_drill(ansible: Session, place: Place, tmp_path: Path) -> None:
    backup = place.backed_up()
    drill = _drill(ansible, place, expect_tables=["item"])["drill"]
    words = shlex.split(drill["command"])
    assert words[0] == "ansible"
    options = words[words.index("-a") + 1]
    assert f'"backup": "{backup.name}"' in options
    assert '"expect_tables": ["item"]' in options
    here = ["localhost", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    again = [*harness.program("ansible"), *here, *words[words.index("-m") :]]
    environment = harness.environment(tmp_path)
    done = subprocess.run(again, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"outcome": "passed"' in done.stdout


def test_what_fails_is_returned(ansible: Session, place: Place) -> None:
    backup = place.backed_up()
    cases: list[tuple[dict[str, Any], int]] = [
        ({"rto": "0s"}, 30),
        ({"assertions": [{"sql": "SELECT count(*) FROM item", "equals": 4}]}, 17),
        ({"backup": "20200101T000000Z-full"}, 22),
        ({"rto": "soon"}, 2),
        ({"scratch_dir": "/no/such/directory"}, 2),
    ]
    for options, code in cases:
        found = _drill(ansible, place, **options)
        assert (found["failed"], error_code(found)) == (True, code), options
        if code in (30, 17):
            assert (found["drill"]["outcome"], found["drill"]["error"]["code"]) == ("failed", code)
    artifact = next(backup.glob("database.sqlite*"))
    databases.flip_bit(artifact, artifact.stat().st_size // 2)
    found = _drill(ansible, place)
    assert error_code(found) == 13
    assert found["drill"]["backup"] == backup.name


def test_neither_repository_nor_target(ansible: Session) -> None:
    found = ansible.task(MODULE, {})
    assert "one of the following is required: repository, target" in found["msg"]
