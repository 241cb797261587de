# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ast
import contextlib
import errno
import json
import os
import pickle
import re
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import errors
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "plugins" / "module_utils" / "_engine"
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
    assert {0, *CODES.values()} == set(errors.EXIT_CODES)
    assert [errors.meaning(each) for each in (12, 29, None, "x", True)] == [
        "source corrupt, or needs recovery",
        *["unexpected"] * 4,
    ]
    assert errors.advice(12) == "Restore, or let the application recover it."
    assert [errors.advice(each) for each in (0, 29, None, [])] == [""] * 4


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
    error = errors.from_os_error(OSError(number, os.strerror(number)), "cannot write /x")
    assert (error).__class__ is expected
    assert error.message == f"cannot write /x: {os.strerror(number).lower()}."


def test_read_only_filesystem_sends_nobody_to_root() -> None:
    """Root is told the same, after the kernel found an error on the disk."""
    hint = errors.from_os_error(OSError(errno.EROFS, "x")).hint
    assert "root" not in hint
    assert "kernel's log" in hint


@pytest.mark.parametrize("command", ["backup", "restore", "verify", "pin", "prune"])
def test_way_names_a_module_that_there_is(command: str) -> None:
    module = str(errors.Way("To do it", command)).partition(": ")[2].rstrip(".")
    assert (ROOT / "plugins" / "modules" / f"{module}.py").is_file()


def test_way_without_options_is_a_sentence() -> None:
    assert str(errors.Way("To go back", "restore")) == "To go back: sqlite_restore."


@pytest.mark.parametrize("name", ["/srv/secret", b"/srv/secret"])
def test_file_that_the_message_does_not_name_is_named(name: str | bytes) -> None:
    """A permission denied, without the file that denies it, helps nobody."""
    error = errors.from_os_error(PermissionError(errno.EACCES, "x", name), "cannot publish")
    assert error.message == "cannot publish: permission denied (/srv/secret)."


@pytest.mark.parametrize("words", [{"action": "Cannot write /srv/a"}, {"step": "cannot write /srv/a"}])
def test_file_that_the_message_names_is_not_named_twice(words: dict[str, str]) -> None:
    """Which action it is of is known only behind the block that made an error of it."""
    with pytest.raises(EngineError) as caught, errors.doing(**words), errors.doing():
        raise PermissionError(errno.EACCES, "x", "/srv/a")
    assert caught.value.message.count("/srv/a") == 1


def test_file_name_that_is_no_utf8_is_no_obstacle() -> None:
    """Telling of one error must not raise another."""
    error = errors.from_os_error(OSError(errno.EIO, "x", b"/srv/\xff"))
    assert os.fsdecode(b"/srv/\xff") in error.message


def test_os_error_without_a_number_keeps_its_text() -> None:
    assert "something odd" in errors.from_os_error(OSError("something odd")).message


def test_what_a_block_does_begins_the_message_of_its_failure() -> None:
    """It is the same error, with all that led to it."""
    error = errors.RefusedError("it is open.", hint="Close it.")
    with pytest.raises(errors.RefusedError) as caught, errors.doing("Cannot do it"):
        raise error from KeyError("before")
    assert caught.value is error
    assert isinstance(error.__cause__, KeyError)
    assert str(error) == "Cannot do it: it is open. Close it."
    assert (error.action, error.cause) == ("Cannot do it", "it is open.")


@pytest.mark.parametrize("failure", [errors.UsageError("it is odd."), OSError("it is odd")])
def test_innermost_block_names_what_failed(failure: Exception) -> None:
    """A precise error must not become a vague one on its way out."""
    with pytest.raises(EngineError, match=r"^Cannot write it: it is odd\.$"), errors.doing("Cannot do it"):
        with errors.doing("Cannot write it"), errors.doing():
            raise failure


@pytest.mark.parametrize(
    ("action", "message"), [("Cannot read it", "Cannot read it: Refused here."), ("", "Refused here.")]
)
def test_error_that_names_its_action_keeps_it(action: str, message: str) -> None:
    with pytest.raises(errors.RefusedError) as caught, errors.doing("Cannot do it"):
        raise errors.RefusedError("Refused here.", action=action)
    assert caught.value.message == message


def test_os_error_in_a_block_becomes_the_engine_error_for_it(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="^Cannot read it: no such file") as caught, errors.doing("Cannot read it"):
        (tmp_path / "missing").read_bytes()
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_step_begins_the_cause_of_what_the_system_refused() -> None:
    with pytest.raises(EngineError, match=r"^Cannot do it: cannot write /x: odd\.$"), errors.doing("Cannot do it"):
        with errors.doing(step="cannot write /x"):
            raise OSError("odd")


def test_step_is_no_part_of_what_the_engine_refused() -> None:
    with pytest.raises(EngineError, match=r"^Cannot do it: it is open\.$"), errors.doing("Cannot do it"):
        with errors.doing(step="cannot write /x"):
            raise errors.RefusedError("it is open.")


def test_action_and_cause_come_out_of_another_process() -> None:
    error = errors.from_os_error(PermissionError(errno.EACCES, "x", "/srv/a"))
    error.action = "Cannot do it"
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (copy.message, copy.cause, copy.action) == (error.message, error.cause, error.action)
    assert copy.message == "Cannot do it: permission denied (/srv/a)."


def test_whoever_raises_says_only_the_cause() -> None:
    """With an action in it, the message would have two as soon as somebody names what is done."""
    found = []
    for path in sorted((ROOT / "plugins" / "module_utils" / "_engine").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in defined_classes():
                cause = ast.unparse(node.args[0]) if node.args else ""
                whole = any(each.arg == "action" and ast.unparse(each.value) == "''" for each in node.keywords)
                if re.match("f?['\"]Cannot ", cause) and not whole:
                    found.append(f"{path.name}:{node.lineno}: {cause}")
    assert found == []


# Where a text is parsed, and nothing of it can be what somebody else wrote, or who calls has the same guard.
PARSED_ELSEWHERE = {
    ("repository/description", "_content"): "read() guards it",
    ("repository/pages", "_check_index"): "opened() guards it",
    ("sqlite/documents", "_document"): "only whether it is JSON counts: what it says is used by nobody",
    ("watch/exporter", "main"): "the line is its parent's",
    ("watch/served", "seen"): "the answer is its own child's",
}


def test_what_others_may_have_written_is_parsed_with_the_same_guard_everywhere() -> None:
    """A number such as 1e999 is none for `int`: each place would forget another kind of error."""
    unguarded = set()
    for path in sorted(ENGINE.rglob("*.py")):
        room = path.relative_to(ENGINE).as_posix()[:-3]
        for function in [each for each in ast.walk(ast.parse(path.read_bytes())) if isinstance(each, ast.FunctionDef)]:
            words = {getattr(each, "id", getattr(each, "attr", "")) for each in ast.walk(function)}
            if {"json", "loads"} <= words and "MALFORMED" not in words:
                unguarded.add((room, function.name))
    assert unguarded == set(PARSED_ELSEWHERE)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "7", "null", '""', '{"a": 1e999}', '{"a": []}', '{"a": {}}', '{"a": NaN}', "[" * 100_000, "x"]
)
def test_whatever_a_text_says_using_it_raises_what_is_called_malformed(text: str) -> None:
    for use in (
        lambda found: int(found["a"]),
        lambda found: found[3],
        lambda found: found.items(),
        lambda found: 1 % found,
    ):
        with contextlib.suppress(*errors.MALFORMED):
            use(json.loads(text))
