# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else may change what on a Windows host: the rules that Windows itself sets, and each that lets somebody in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.sqliteops.backup.plugins.filter.windows_hosts import (
    windows_among,
    windows_place_problems,
    windows_problems,
    windows_there,
    windows_without,
)
from support import windows_rules as rules

ROOT = "C:\\ProgramData\\sqlite-backup"
PYTHON = "C:\\Program Files\\Python313"
ACCOUNT = "S-1-5-21-1004336348-1177238915-682003330-1002"


def problems(*facts: dict[str, Any], **places: list[str]) -> list[str]:
    """Of a host that is as Windows makes it, but for ``facts``; a later fact counts."""
    told = {path: rules.fact(path, sddl) for path, sddl in rules.HOST.items()}
    told |= {each["path"]: each for each in facts if "owner" in each and "below" not in each}
    others = [each for each in facts if each["path"] not in told or told[each["path"]] is not each]
    first = {"current": rules.CONNECTED, "account": ACCOUNT}
    return windows_problems([json.dumps(each) for each in (first, *told.values(), *others)], **places)


def absent(path: str) -> dict[str, Any]:
    return {"path": path, "kind": "absent"}


def test_a_host_as_windows_makes_it() -> None:
    executed = [PYTHON, f"{PYTHON}\\Lib"]
    found = problems(
        absent(ROOT),
        absent("D:\\Backups"),
        rules.fact(f"{PYTHON}\\Lib", rules.IN_PROGRAM_FILES),
        taken=[ROOT, "D:\\Backups"],
        programs=executed,
        beside=["C:\\Program Files", "C:\\"],
    )

    assert found == []


@pytest.mark.parametrize(
    "drive", [rules.CLIENT_DRIVE, rules.SERVER_DRIVE, rules.CLIENT_DATA_DRIVE, rules.SERVER_DATA_DRIVE]
)
def test_what_the_role_made_may_be_on_every_drive(drive: str) -> None:
    facts = [rules.fact("E:\\", drive), rules.fact("E:\\Backups", rules.OURS)]
    below = rules.fact("E:\\Backups\\agent", rules.IN_OURS, below="E:\\Backups")

    assert problems(*facts, below, private=["E:\\Backups"]) == []
    assert problems(*facts, taken=["E:\\Backups"], programs=["E:\\Backups"]) == []


@pytest.mark.parametrize(
    ("sddl", "said"),
    [
        (rules.OURS.replace("O:BA", f"O:{rules.SOMEBODY}"), f"belongs to {rules.SOMEBODY}"),
        (rules.IN_PROGRAM_DATA, "can be changed by Users"),
        (rules.IN_CLIENT_DRIVE, "can be changed by Authenticated Users"),
        (rules.IN_CLIENT_DATA_DRIVE, "can be changed by Authenticated Users"),
        (rules.IN_SERVER_DRIVE, "can be changed by Users"),
        (f"{rules.OURS}(A;OICI;FA;;;{rules.SOMEBODY})", f"can be changed by {rules.SOMEBODY}"),
        # What will be made in it would be open.
        (f"{rules.OURS}(A;OICIIO;GW;;;WD)", "can be changed by Everyone"),
        (f"{rules.OURS}(XA;;WD;;;WD)", "can be changed by Everyone"),
        *((f"{rules.OURS}(A;;{each};;;WD)", "Everyone") for each in ("DC", "LC", "RP", "DT", "CR", "SD", "WO", "GA")),
    ],
)
def test_what_is_there_is_not_taken_from_somebody(sddl: str, said: str) -> None:
    (line,) = problems(rules.fact(ROOT, sddl), taken=[ROOT])

    assert line.startswith(f"{ROOT}: {said}") or said == "Everyone"


@pytest.mark.parametrize(
    "sddl",
    [
        rules.OURS,
        rules.IN_PROGRAM_FILES,
        f"{rules.OURS}(A;OICI;0x1200a9;;;BU)(A;OICIIO;GA;;;CO)(A;;FA;;;OW)(D;;FA;;;WD)",
        f"{rules.OURS}(A;OICI;0x1301bf;;;{ACCOUNT})",
        rules.OURS.replace("O:BA", f"O:{rules.CONNECTED}"),
        rules.OURS.replace("O:BA", "O:SY"),
        rules.OURS.replace("O:BA", f"O:{rules.TRUSTED_INSTALLER}"),
    ],
)
def test_what_only_administrators_can_change_may_be_taken(sddl: str) -> None:
    assert problems(rules.fact(ROOT, sddl), taken=[ROOT]) == []


def test_a_directory_without_any_rules_is_open_to_everybody() -> None:
    fact = {**rules.fact(ROOT, rules.OURS), "rules": None}

    assert problems(fact, taken=[ROOT]) == [f"{ROOT}: open to everybody, since it has no rules"]


@pytest.mark.parametrize(
    ("names", "sddl", "is_refused"),
    [
        (["agent.db", "App.exe"], rules.IN_PROGRAM_FILES, True),
        (["agent.db", "App.exe"], f"{rules.OURS}(A;OICI;0x1200a9;;;BU)", True),
        (["agent.db"], rules.OURS, False),
        # It inherits its rules, so others may be let in above.
        (["agent.db"], rules.IN_OURS, True),
        ([], rules.IN_PROGRAM_FILES, False),
        (["repository.json", "20260101T000000Z-full"], rules.IN_PROGRAM_FILES, False),
        (["agent", "agent\\repository.json"], rules.IN_PROGRAM_FILES, False),
        (["databases.d"], rules.IN_PROGRAM_FILES, False),
    ],
)
def test_a_directory_in_use_for_something_else_is_not_taken(names: list[str], sddl: str, is_refused: bool) -> None:
    content = {"path": "D:\\App", "names": names}

    found = problems(rules.fact("D:\\App", sddl), content, taken=["D:\\App"])

    told = [f"D:\\App: holds what is not of this role: {', '.join(names)}"]
    assert found == (told if is_refused else [])


def test_of_what_was_made_a_moment_ago_only_the_owner_counts() -> None:
    assert problems(rules.fact(ROOT, rules.IN_PROGRAM_DATA), made=[ROOT]) == []

    stranger = rules.IN_PROGRAM_DATA.replace("O:BA", f"O:{rules.SOMEBODY}")

    assert problems(rules.fact(ROOT, stranger), made=[ROOT]) == [f"{ROOT}: belongs to {rules.SOMEBODY}"]


def test_of_what_is_private_nobody_else_may_read() -> None:
    inner = rules.fact(f"{ROOT}\\config\\a.json", f"{rules.IN_OURS}(A;;FR;;;WD)", "file", below=f"{ROOT}\\config")

    found = problems(rules.fact(ROOT, f"{rules.OURS}(A;;FR;;;BU)"), inner, private=[ROOT])

    assert found == [
        f"{ROOT}: open to Users (S-1-5-32-545)",
        f"{ROOT}\\config\\a.json: open to Everyone (S-1-1-0)",
    ]


@pytest.mark.parametrize(("kind", "said"), [("link", "a link"), ("more", "more rules than can be looked at")])
def test_a_link_below_is_found_and_too_much_is_told(kind: str, said: str) -> None:
    inner = {"path": f"{ROOT}\\a\\b", "kind": kind, "below": ROOT}

    assert problems(rules.fact(ROOT, rules.OURS), inner, private=[ROOT]) == [f"{ROOT}\\a\\b: {said}"]


def test_the_account_may_write_where_it_runs_and_not_what_it_runs() -> None:
    fact = rules.fact("D:\\Tools", f"{rules.OURS}(A;OICI;0x1301bf;;;{ACCOUNT})(A;;FR;;;WD)")

    assert problems(fact, shared=["D:\\Tools"]) == []
    assert problems(fact, programs=["D:\\Tools"]) == [f"D:\\Tools: can be changed by {ACCOUNT}"]


def test_python_beside_the_programs_of_windows() -> None:
    (line,) = problems(rules.fact("C:\\Python313", rules.IN_CLIENT_DRIVE), programs=["C:\\Python313"])[:1]

    assert line == "C:\\Python313: can be changed by Authenticated Users (S-1-5-11)"


def test_a_file_beside_python_would_tell_it_where_its_library_is() -> None:
    python = rules.fact("E:\\Python313", rules.OURS)
    places = {"programs": ["E:\\Python313"], "beside": ["E:\\"]}

    assert problems(rules.fact("E:\\", rules.CLIENT_DRIVE), python, **places) == []
    assert problems(rules.fact("E:\\", rules.CLIENT_DATA_DRIVE), python, **places) == [
        "E:\\: can be changed by Authenticated Users (S-1-5-11)"
    ]


@pytest.mark.parametrize(
    ("sddl", "is_refused"),
    [
        (rules.OURS, False),
        (rules.IN_PROGRAM_DATA, False),
        (rules.IN_SERVER_DRIVE, False),
        (f"{rules.OURS}(A;OICIIO;FA;;;WD)", False),
        # Whoever may delete a directory may rename it, and make another one in its place.
        (rules.IN_CLIENT_DATA_DRIVE, True),
        (rules.OURS.replace("O:BA", f"O:{rules.SOMEBODY}"), True),
        *((f"{rules.OURS}(A;;{each};;;WD)", True) for each in ("DT", "WD", "WO", "SD", "GA")),
    ],
)
@pytest.mark.parametrize("kind", ["taken", "private", "programs", "shared"])
def test_what_is_above_counts_when_others_can_exchange_what_is_below(kind: str, sddl: str, is_refused: bool) -> None:
    facts = [rules.fact("D:\\Company", sddl), rules.fact("D:\\Company\\Backups", rules.OURS)]
    place = rules.fact("D:\\Company\\Backups\\config", rules.OURS)

    found = problems(*facts, place, **{kind: ["D:\\Company\\Backups\\config"]})

    assert [line.partition(": ")[0] for line in found] == (["D:\\Company"] if is_refused else [])


def test_a_link_above_is_refused() -> None:
    facts = [{"path": "D:\\Company", "kind": "link"}, rules.fact("D:\\Company\\config", rules.OURS)]

    assert problems(*[{"owner": "", **each} for each in facts], taken=["D:\\Company\\config"]) == [
        "D:\\Company: a link"
    ]


def test_every_directory_of_path_before_the_program_counts() -> None:
    facts = [
        rules.fact("C:\\Tools", rules.IN_CLIENT_DRIVE),
        rules.fact(f"{PYTHON}\\rclone.exe", f"{rules.IN_PROGRAM_FILES}(A;;FA;;;BU)", "file"),
        absent("C:\\Gone"),
        absent("C:\\Program Files\\Gone"),
    ]
    searched = ["C:\\Tools", "C:\\Gone", "C:\\Program Files\\Gone", PYTHON]
    told = [{"path": each, "kind": "searched"} for each in searched]

    found = problems(*facts, *told, {"path": f"{PYTHON}\\rclone.exe", "kind": "program"})

    assert found == [
        f"{PYTHON}\\rclone.exe: can be changed by Users (S-1-5-32-545)",
        "C:\\Tools: can be changed by Authenticated Users (S-1-5-11)",
        "C:\\Gone, which PATH names and which is not there: C:\\: can be changed by Authenticated Users (S-1-5-11)",
    ]


@pytest.mark.parametrize(
    "lines",
    [[], ["{}"], ["no JSON"], [{"current": "a", "account": "b"}, {"path": "C:\\a", "kind": "file", "rules": ["0 0"]}]],
)
def test_what_cannot_be_understood_is_an_error(lines: list[Any]) -> None:
    with pytest.raises(AnsibleFilterError, match="cannot be understood"):
        windows_problems(lines)


def test_a_path_of_which_nothing_was_told_is_an_error() -> None:
    with pytest.raises(AnsibleFilterError, match="Nothing was told of"):
        problems(programs=["C:\\Tools"])


def test_what_is_there() -> None:
    lines = [{"current": "a", "account": "b"}, rules.fact("C:\\a", rules.OURS), absent("C:\\b")]

    assert windows_there(lines, ["c:\\A", "C:\\b"]) == ["c:\\A"]


def test_names_that_differ_by_case_are_the_same_to_windows() -> None:
    assert windows_without(["Agent", "other"], ["agent"]) == ["other"]
    assert windows_among(["D:\\B\\x", "C:/a"], ["d:\\b\\X", "c:\\A"]) == ["D:\\B\\x", "C:/a"]
    assert windows_without(["Agent", "other"], ["agent"], windows=False) == ["Agent", "other"]
    assert windows_among(["Agent"], ["agent"], windows=False) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("D:\\report.html", "all of a disk"),
        ("\\\\server\\share\\report.html", "all of a disk"),
        ("c:\\config\\report.html", "is the directory of config_dir"),
        ("C:\\Config\\Drills\\report.html", "is in the directory of config_dir"),
        ("C:\\Data\\report.html", "contains the directory of repository_dir"),
        ("D:\\nul\\report.html", "takes 'nul' for another name"),
    ],
)
def test_a_report_belongs_to_no_other_directory(path: str, said: str) -> None:
    apart = {"config_dir": "C:\\Config", "repository_dir": "C:\\Data\\Repositories"}

    (found,) = windows_place_problems(path, where="report", apart=apart)

    assert said in found
    assert windows_place_problems("C:\\Drills\\report.html", where="report", apart=apart) == []
