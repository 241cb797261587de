# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner's configuration is strict: what is not understood is named, with what was probably meant."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import config
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    RefusedError,
    UsageError,
)
from support import databases

DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs" / "runner.md"
GOOD = {"path": "/srv/agent.db", "repository": "/backups/agent"}
needs_modes = pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")


def write(directory: Path, content: Any, name: str = "agent") -> Path:
    file = directory / "databases.d" / f"{name}.json"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    file.chmod(0o600)
    return file


def load(directory: Path, content: Any) -> Mapping[str, Any]:
    write(directory, content)
    return config.load(directory, "agent").options


def refusal(directory: Path, content: Any) -> EngineError:
    """Why this file is refused; the message always names the file."""
    file = write(directory, content)
    with pytest.raises(EngineError) as caught:
        config.load(directory, "agent")
    assert caught.value.message.startswith("agent: ")
    assert caught.value.message.endswith(f" ({file}).")
    assert caught.value.hint
    return caught.value


# --- what is written about it ---------------------------------------------------------------------------------------


def test_table_in_the_documentation_has_every_key_with_its_type_and_default() -> None:
    table = DOCUMENTATION.read_text(encoding="utf-8").partition("| key | what | type |")[2].partition("\n\n")[0]
    told: dict[str, tuple[str, str]] = {}
    for names, kinds, defaults in re.findall(r"^\| (`.*?) \| .* \| (.*?) \| ?(.*) \|$", table, re.MULTILINE):
        keys = re.findall(r"`(\w+)`", names)
        told.update(zip(keys, zip(_each(kinds, len(keys)), _each(defaults, len(keys)))))

    assert told == {name: (key.type, told[name][1]) for name, key in config.KEYS.items()}
    for name, (_type, default) in told.items():
        key, words = config.KEYS[name], default.strip("`")
        assert key.required == (words == "required")
        if key.default in (None, ()):
            assert words in ("", "none", "required", "one of them is required", "not encrypted"), name
        else:
            assert words == str(key.default).replace("False", "false"), name


def _each(cell: str, count: int) -> list[str]:
    """What a cell says of each of the ``count`` keys of its line."""
    values = cell.split(", ")
    return values if len(values) == count else [cell] * count


def test_example_in_the_documentation_is_what_the_runner_says(tmp_path: Path) -> None:
    (line,) = re.findall(r"^agent: error 2: (.*rop.*)$", DOCUMENTATION.read_text(encoding="utf-8"), re.MULTILINE)
    told = refusal(tmp_path, {**GOOD, "rop": "1h"}).message

    assert line == told.replace(str(tmp_path), "/etc/sqlite-backup").replace(os.sep, "/")


# --- what is understood --------------------------------------------------------------------------------------------


def test_two_keys_are_enough(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD)

    assert set(found) == set(config.KEYS)
    assert (found["path"], found["repository"], found["name"]) == ("/srv/agent.db", "/backups/agent", "agent")
    assert (found["keep_hourly"], found["timeout"], found["rpo"], found["include"]) == (24, "1h", None, [])
    assert found["keep_within"] == "1d"


def test_every_key_can_be_given(tmp_path: Path) -> None:
    given = {
        **GOOD,
        "name": "agent",
        "env_key": "DB_URL",
        "type": "full",
        "full_every": "12h",
        "max_chain": 5,
        "suspect_below": 5,
        "compression": "gzip",
        "compression_level": 9,
        "encryption": {"method": "gpg", "recipients": ["/etc/key"], "passphrase_file": "/etc/passphrase"},
        "check": "none",
        "include": [{"src": "/srv/.env", "name": "env", "redact": True}],
        "tags": ["a"],
        "timeout": "30s",
        "lock_timeout": "5s",
        "allow_empty": True,
        **{f"keep_{word}": 3 for word in ("last", "hourly", "daily", "weekly", "monthly", "yearly")},
        "keep_within": "6h",
        "keep_suspect": "3d",
        "timezone": "Europe/Berlin",
        "identity_file": "/etc/identity",
        "passphrase_file": "/etc/passphrase",
        "rpo": "1h30m",
        "rto": "15m",
        "drill": {
            "backup": "due",
            "every": "1d",
            "prove_within": "2w",
            "target": "nas",
            "scratch_dir": "/srv/drills",
        },
        "due": {"minute": "7,37", "hour": "*", "grace": "30m"},
        "expect_tables": ["item"],
        "assertions": [{"sql": "SELECT 1", "equals": [[1, None]]}, {"sql": "SELECT NULL", "equals": None}],
        "targets": ["nas", "s3"],
    }
    assert set(given) == set(config.KEYS) - {"database_url", "env_file", "chdir"}

    (included,) = given["include"]
    assert isinstance(included, dict)
    included.update(kind="file", url=None, required=None, limit_mib=None, timeout="10s")
    assert load(tmp_path, given) == {**given, "database_url": None, "env_file": None, "chdir": None}


def test_a_database_can_be_named_by_its_url(tmp_path: Path) -> None:
    url = {"repository": "/backups/agent", "database_url": "file:./agent.db?connection_limit=1", "chdir": "/srv/prisma"}
    write(tmp_path, url)

    assert config.load(tmp_path, "agent").path == Path(os.path.abspath("/srv/prisma/agent.db"))


def test_a_database_can_be_named_by_the_environment_file_of_its_application(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    given = {"repository": "/backups/agent", "env_file": str(env), "env_key": "DB", "chdir": "/srv/prisma"}
    write(tmp_path, given)

    found = config.load(tmp_path, "agent")
    assert found.beside == (env, Path("/backups/agent"))
    env.write_text("DB=file:./agent.db\n")
    assert found.path == Path(os.path.abspath("/srv/prisma/agent.db"))
    assert found.beside == (Path(os.path.abspath("/srv/prisma/agent.db")), Path("/backups/agent"))


def test_null_is_as_if_the_key_were_not_there(tmp_path: Path) -> None:
    assert load(tmp_path, {**GOOD, "rpo": None, "keep_daily": None, "encryption": None}) == load(tmp_path, GOOD)


@pytest.mark.parametrize("name", databases.ODD_NAMES)
def test_a_path_may_hold_anything(tmp_path: Path, name: str) -> None:
    """Case 18."""
    found = load(tmp_path, {**GOOD, "path": f"/srv/{name}/{name}.db"})

    assert os.fsencode(found["path"]) == os.fsencode(f"/srv/{name}/{name}.db")


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode())["path"] == "/srv/agent.db"


# --- what is not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "key", "hint"),
    [
        ({"keep_hourli": 3}, "keep_hourli", "Did you mean keep_hourly?"),
        ({"encryption": {"recipient": []}}, "encryption.recipient", "Did you mean recipients?"),
        ({"include": [{"src": "/a", "nam": "b"}]}, "include[0].nam", "Did you mean name?"),
        ({"encryption": {"zzz": 1}}, "encryption.zzz", "Known: method, passphrase_file, recipients."),
    ],
)
def test_unknown_key_is_named_with_the_nearest(tmp_path: Path, extra: dict[str, Any], key: str, hint: str) -> None:
    error = refusal(tmp_path, {**GOOD, **extra})

    assert isinstance(error, UsageError)
    assert error.message.startswith(f"agent: {key}: there is no such key (")
    assert error.hint == hint


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("path", 3, "path is 3, it must be an absolute path"),
        ("path", "agent.db", 'path is "agent.db", it must be an absolute path'),
        ("repository", "~/backups", 'repository is "~/backups", it must be an absolute path'),
        ("path", "/srv/a\0b", "it must be an absolute path"),
        ("max_chain", "10", 'max_chain is "10", it must be a whole number'),
        ("max_chain", True, "max_chain is true, it must be a whole number"),
        ("keep_last", 1.5, "keep_last is 1.5, it must be a whole number"),
        ("allow_empty", "no", 'allow_empty is "no", it must be true or false'),
        ("allow_empty", 0, "allow_empty is 0, it must be true or false"),
        ("type", "ful", 'type is "ful", it must be one of auto, full, incremental'),
        ("timeout", "soon", 'timeout is "soon", it must be a duration'),
        ("lock_timeout", 60, "lock_timeout is 60, it must be a duration"),
        ("full_every", "1 day", 'full_every is "1 day", it must be a duration'),
        ("rpo", "-1h", 'rpo is "-1h", it must be a duration'),
        ("tags", "a", 'tags is "a", it must be a list'),
        ("tags", ["a", 1], "tags[1] is 1, it must be a text"),
        ("include", ["/a"], 'include[0] is "/a", it must be an object'),
        ("include", [{"src": "a"}], 'include[0].src is "a", it must be an absolute path'),
        ("encryption", "age", 'encryption is "age", it must be an object'),
        ("encryption", {"method": "rot13"}, 'encryption.method is "rot13", it must be one of none, age, gpg'),
        ("timezone", 1, "timezone is 1, it must be a text"),
        ("expect_tables", {"a": 1}, 'expect_tables is {"a": 1}, it must be a list'),
        ("assertions", [{"sql": "SELECT 1"}], "assertions[0].equals is missing"),
        ("include", [{}], "include: Cannot include file: it needs src"),
        ("repository", None, "repository is missing"),
        ("path", None, "path, database_url and env_file: exactly one of them must be given"),
        ("database_url", "file:/srv/b.db", "path, database_url and env_file: exactly one of them must be given"),
        ("name", "other", "name is 'other', it must be that of the file"),
    ],
)
def test_wrong_value_is_named_with_what_is_allowed(tmp_path: Path, key: str, value: Any, told: str) -> None:
    error = refusal(tmp_path, {**GOOD, key: value})

    assert isinstance(error, UsageError)
    assert error.message.startswith((f"agent: {key}", "agent: path, database_url and env_file"))
    assert told in error.message


@pytest.mark.parametrize(
    ("extra", "hint"),
    [
        ({"timeout": "soon"}, "This file is written by the role: correct it there."),
        ({"tiemout": "1h"}, "Did you mean timeout? This file is written by the role: correct it there."),
        (
            {"name": "b"},
            "Rename the file, or omit the key name. This file is written by the role: correct it there.",
        ),
    ],
)
def test_a_hint_sends_nobody_to_a_file_that_is_overwritten(tmp_path: Path, extra: dict[str, Any], hint: str) -> None:
    assert refusal(tmp_path, {**GOOD, **extra, "managed_by": "the role"}).hint == hint
    assert "managed_by" not in load(tmp_path, {**GOOD, "managed_by": "the role"})
    assert "managed_by is 3, it must be a text" in refusal(tmp_path, {**GOOD, "managed_by": 3}).message


def test_a_huge_wrong_value_is_not_repeated(tmp_path: Path) -> None:
    assert len(refusal(tmp_path, {**GOOD, "type": "x" * 5000}).message) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b'{"path": "/a",}', "it is not JSON"),
        (b"\xff\xfe{}", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it is [], it must be an object"),
        (b'{"path": "/a", "path": "/b", "repository": "/c"}', "agent: path: the key is there twice"),
        (b'{"path": "/a", "repository": "/c", "keep_last": NaN}', "keep_last is NaN"),
    ],
)
def test_what_is_no_such_file_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    error = refusal(tmp_path, content)

    assert isinstance(error, UsageError)
    assert told in error.message


def test_a_url_is_read_when_the_file_is(tmp_path: Path) -> None:
    write(tmp_path, {"repository": "/b", "database_url": "postgres://host/db"})

    with pytest.raises(UsageError, match="^agent: database_url: .*postgres"):
        config.load(tmp_path, "agent")


@needs_modes
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_others_can_write_to_is_refused(tmp_path: Path, mode: int, what: str) -> None:
    """Whoever can write there would decide what root reads and where it writes."""
    directory = tmp_path / "with space"
    directory.mkdir()
    file = write(directory, GOOD)
    place = file if what == "file" else file.parent
    place.chmod(mode | 0o100)

    with pytest.raises(RefusedError, match="others than its owner can write") as caught:
        config.load(directory, "agent")

    assert caught.value.hint.endswith(f"chmod go-w '{place}'")


@needs_modes
def test_what_others_can_only_read_is_not(tmp_path: Path) -> None:
    write(tmp_path, GOOD).chmod(0o644)

    assert config.load(tmp_path, "agent").name == "agent"


@pytest.mark.parametrize("name", ["a b", "-a", "a.b", "ä", "a/b", "a\nb", "con", "NUL", "Com1"])
def test_a_name_must_do_everywhere(tmp_path: Path, name: str) -> None:
    """It becomes a part of file names, units and commands."""
    with pytest.raises(UsageError, match="cannot be the name of a database"):
        config.load(tmp_path, name)


# --- where it is ---------------------------------------------------------------------------------------------------


def test_names_are_those_of_the_files(tmp_path: Path) -> None:
    """What a program is just putting in place has a dot in front; other endings are copies that a person left."""
    for name in ("b", "a", "wrong name"):
        write(tmp_path, GOOD, name)
    for name in (".ansible_tmp_a.json", "c.json.dpkg-old", "d.txt"):
        (tmp_path / "databases.d" / name).touch()

    assert config.names(tmp_path) == ["a", "b", "wrong name"]
    assert config.names(tmp_path / "nowhere") == []


def test_directory_is_the_given_one_or_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_BACKUP_CONFIG", "/from/environment")

    assert config.directory("/given") == Path(os.path.abspath("/given"))
    assert config.directory("given") == Path.cwd() / "given"
    assert config.directory() == Path(os.path.abspath("/from/environment"))


@pytest.mark.parametrize(
    ("user", "base", "expected"),
    [
        (0, "/base", "/etc/sqlite-backup"),
        (1000, "/base", "/base/sqlite-backup"),
        (1000, "relative", "/home/app/.config/sqlite-backup"),
        (1000, "", "/home/app/.config/sqlite-backup"),
    ],
)
def test_directory_of_root_and_of_others(monkeypatch: pytest.MonkeyPatch, user: int, base: str, expected: str) -> None:
    monkeypatch.delenv("SQLITE_BACKUP_CONFIG", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", base)
    monkeypatch.setenv("HOME", "/home/app")

    assert config.directory() == Path(expected)
