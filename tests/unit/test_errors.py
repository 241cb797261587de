# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import errors
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError

ROOT = Path(__file__).resolve().parents[2]
# The table of exit codes, which operators and other programs rely on.
CODES = {
    "EngineError": 1,
    "UsageError": 2,
    "PartialError": 3,
    "SourceMissingError": 10,
    "SourceBusyError": 11,
    "SourceCorruptError": 12,
    "BackupDamagedError": 13,
    "KeyRejectedError": 14,
    "RepositoryLockedError": 15,
    "NoSpaceError": 16,
    "ProofFailedError": 17,
    "RefusedError": 18,
    "ProgramMissingError": 19,
    "PermissionDeniedError": 20,
    "TargetUnreachableError": 21,
    "BackupNotFoundError": 22,
    "StorageFailedError": 23,
    "ObjectiveMissedError": 30,
    "LastRunFailedError": 31,
    "CancelledError": 130,
}


def defined_classes() -> dict[str, type[EngineError]]:
    found = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, EngineError)]
    return {each.__name__: each for each in found}


def test_every_class_has_the_code_of_the_table() -> None:
    """A code must never change: scripts and alerts are written against it."""
    assert {name: each.code for name, each in defined_classes().items()} == CODES


def test_no_two_classes_share_a_code() -> None:
    """From the code alone an operator must know what happened."""
    codes = [each.code for each in defined_classes().values()]
    assert len(codes) == len(set(codes))


def test_every_code_that_can_come_is_explained() -> None:
    """Code 21 is for copies off-site, which are not there yet."""
    assert {0, *CODES.values()} - {21} == set(errors.EXIT_CODES)
    assert [errors.meaning(each) for each in (12, 21, None, "x", True)] == [
        "source corrupt, or needs recovery",
        *["unexpected"] * 4,
    ]
    assert errors.advice(12) == "Restore, or let the application recover it."
    assert [errors.advice(each) for each in (0, 21, None, [])] == [""] * 4


def test_table_in_the_documentation_is_that_of_the_engine() -> None:
    text = (ROOT / "docs" / "runner.md").read_text(encoding="utf-8").partition("## Exit codes")[2].replace("`", "")
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (?:(.*) )?\|$", text, re.MULTILINE)
    assert {int(code): (what, advice) for code, what, advice in rows} == errors.EXIT_CODES


def test_every_code_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(each) for each in re.findall(r"\| (\d+) \| \w", text)} == {*errors.EXIT_CODES}


@pytest.mark.parametrize("name", sorted(CODES))
def test_class_defines_its_own_code(name: str) -> None:
    """A class that inherited its code would change with another one."""
    assert "code" in vars(defined_classes()[name])


def test_text_is_message_and_hint() -> None:
    error = EngineError("Cannot read /x: it is gone.", hint="Look for it.")
    assert (str(error), error.message, error.hint) == (
        "Cannot read /x: it is gone. Look for it.",
        "Cannot read /x: it is gone.",
        "Look for it.",
    )


def test_text_without_a_hint_has_no_loose_end() -> None:
    assert str(EngineError("Cannot read /x: it is gone.")) == "Cannot read /x: it is gone."


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, errors.NoSpaceError),
        (errno.EDQUOT, errors.NoSpaceError),
        (errno.EFBIG, errors.NoSpaceError),
        (errno.EACCES, errors.PermissionDeniedError),
        (errno.EPERM, errors.PermissionDeniedError),
        (errno.EROFS, errors.PermissionDeniedError),
        (errno.EIO, errors.StorageFailedError),
        (errno.ELOOP, errors.RefusedError),
        (errno.ENOENT, errors.RefusedError),
    ],
)
def test_os_error_becomes_the_class_for_its_cause(number: int, expected: type[EngineError]) -> None:
    """A full disk must not look like a missing permission, nor either like a bug."""
    error = errors.from_os_error("Cannot write /x", OSError(number, os.strerror(number)))
    assert (error).__class__ is expected
    assert error.message == f"Cannot write /x: {os.strerror(number).lower()}."


def test_read_only_filesystem_sends_nobody_to_root() -> None:
    """Root is told the same, after the kernel found an error on the disk."""
    hint = errors.from_os_error("Cannot write /x", OSError(errno.EROFS, "x")).hint
    assert "root" not in hint
    assert "kernel's log" in hint


@pytest.mark.parametrize("command", ["backup", "restore", "verify", "pin", "prune"])
def test_way_names_a_module_that_there_is(command: str) -> None:
    module = str(errors.Way("To do it", command)).partition(": ")[2].rstrip(".")
    assert (ROOT / "plugins" / "modules" / f"{module}.py").is_file()


def test_way_without_options_is_a_sentence() -> None:
    assert str(errors.Way("To go back", "restore")) == "To go back: sqlite_restore."


def test_file_that_the_action_does_not_name_is_named() -> None:
    """A permission denied, without the file that denies it, helps nobody."""
    error = errors.from_os_error("Cannot publish", PermissionError(errno.EACCES, "x", "/srv/secret"))
    assert "/srv/secret" in error.message


def test_file_that_the_action_names_is_not_named_twice() -> None:
    error = errors.from_os_error("Cannot write /srv/a", PermissionError(errno.EACCES, "x", "/srv/a"))
    assert error.message.count("/srv/a") == 1


def test_file_name_that_is_no_utf8_is_no_obstacle() -> None:
    """Telling of one error must not raise another."""
    error = errors.from_os_error("Cannot publish", OSError(errno.EIO, "x", b"/srv/\xff"))
    assert os.fsdecode(b"/srv/\xff") in error.message


def test_os_error_without_a_number_keeps_its_text() -> None:
    assert "something odd" in errors.from_os_error("Cannot write /x", OSError("something odd")).message


def test_translated_block_raises_the_engine_error_and_its_cause(tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match="Cannot read it: no such file") as caught,
        errors.translated("Cannot read it"),
    ):
        (tmp_path / "missing").read_bytes()
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_translated_block_leaves_engine_errors_alone() -> None:
    """A precise error must not become a vague one on its way out."""
    with pytest.raises(errors.RefusedError, match="^Refused here$"), errors.translated("Cannot do it"):
        raise errors.RefusedError("Refused here")
