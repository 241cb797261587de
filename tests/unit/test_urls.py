# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import urls
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import errors
from support import databases

# Absolute also where a path begins with a drive.
CHDIR = Path(os.path.abspath("/srv/app/prisma"))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:./agent.db", "/srv/app/prisma/agent.db"),
        ("file:agent.db", "/srv/app/prisma/agent.db"),
        ("file:../data/agent.db", "/srv/app/data/agent.db"),
        ("file:./agent.db?connection_limit=1&socket_timeout=10", "/srv/app/prisma/agent.db"),
        ("file:/srv/agent.db", "/srv/agent.db"),
        ("file:///srv/agent.db", "/srv/agent.db"),
        ("file:///srv/agent.db?mode=ro#fragment", "/srv/agent.db"),
        ("file:///srv/agent.db#fragment", "/srv/agent.db"),
        ("file://localhost/srv/agent.db", "/srv/agent.db"),
        ("file:///srv/my%20agent%3F.db", "/srv/my agent?.db"),
        ("file:./my%20agent%3F.db?x=%20", "/srv/app/prisma/my%20agent%3F.db"),
        ("file:./agent.db#1?x=1#2", "/srv/app/prisma/agent.db#1"),
        ("file:/srv/100%.db", "/srv/100%.db"),
        ("file:/srv/a%00b.db", "/srv/a%00b.db"),
        ("file:./new\nline.db", "/srv/app/prisma/new\nline.db"),
        ("sqlite:///agent.db", "/srv/app/prisma/agent.db"),
        ("sqlite:///./agent.db", "/srv/app/prisma/agent.db"),
        ("sqlite:////srv/agent.db", "/srv/agent.db"),
        ("sqlite:////srv/agent.db?timeout=5", "/srv/agent.db"),
        ("sqlite:////srv/my%20agent.db#fragment", "/srv/my agent.db"),
        ("sqlite3:////srv/agent.db", "/srv/agent.db"),
    ],
)
def test_url_names_the_file_that_the_application_opens(url: str, path: str) -> None:
    assert urls.path(url, chdir=CHDIR) == Path(os.path.abspath(path))


@pytest.mark.parametrize(
    "url",
    [
        "", "agent.db", "/srv/agent.db", "postgresql://localhost/agent", "mysql://a", "FILE", "file:", "file:?mode=ro",
        "file://", "file::memory:", "file::memory:?cache=shared", "file://server/share/agent.db", "file:///srv/a%00b.db",
        "file:/srv/a\0b.db",
        "sqlite:", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://agent.db", "sqlite:agent.db",
    ],
)  # fmt: skip
def test_url_that_names_no_file_here_is_a_usage_error(url: str) -> None:
    """A guess could back up another file, and succeed."""
    with pytest.raises(errors.UsageError, match="database URL"):
        urls.path(url, chdir=CHDIR)


@pytest.mark.parametrize("url", ["file:./agent.db", "file:agent.db?x=1", "sqlite:///agent.db"])
def test_relative_url_needs_a_directory(url: str) -> None:
    """The working directory of an Ansible module is anything."""
    with pytest.raises(errors.UsageError, match="its path is relative.*chdir"):
        urls.path(url)


FILE_NAMES = st.binary(min_size=1, max_size=30).filter(
    lambda name: not set(name) & {0, 0x2F} and name not in (b".", b"..", b":memory:")
)


@given(st.lists(FILE_NAMES, min_size=1, max_size=3))
def test_every_path_survives_its_url(names: list[bytes]) -> None:
    """Whatever bytes a name holds, quoted as RFC 3986 wants it names the same file again."""
    path = Path("/", *map(os.fsdecode, names))
    assert urls.path(path.as_uri()) == path


@given(FILE_NAMES)
def test_every_relative_name_survives_its_url(name: bytes) -> None:
    expected = CHDIR / os.fsdecode(name)
    assert urls.path(f"sqlite:///{quote_from_bytes(name)}", chdir=CHDIR) == expected


@given(FILE_NAMES.filter(lambda name: b"?" not in name))
def test_prisma_takes_every_name_as_it_is(name: bytes) -> None:
    """Decoded, it would name a file that Prisma does not open, and the wrong one would be backed up for years."""
    plain = os.fsdecode(name)
    assert urls.path(f"file:./{plain}?connection_limit=1", chdir=CHDIR) == CHDIR / plain


@pytest.mark.parametrize("name", databases.ODD_NAMES[:-1])
def test_url_names_the_file_that_sqlite_opens(tmp_path: Path, name: str) -> None:
    path = databases.make(tmp_path / name)
    url = f"{path.as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(url, uri=True)) as connection:
        ((_number, _schema, opened),) = connection.execute("PRAGMA database_list").fetchall()
    assert Path(opened).samefile(urls.path(url))


# --- two files that one URL may mean -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["my%20agent.db", "agent.db#1"])
@pytest.mark.parametrize("form", ["file:./{}?x=1", "file://{}/{}", "sqlite:///{}"])
def test_url_that_may_mean_two_files_is_refused(tmp_path: Path, name: str, form: str) -> None:
    other = {"my%20agent.db": "my agent.db", "agent.db#1": "agent.db"}[name]
    place = tmp_path.as_uri().partition("//")[2]
    url = form.format(*([place, name] if form.count("{}") == 2 else [name]))
    (tmp_path / name).touch()
    (tmp_path / other).touch()

    with pytest.raises(errors.UsageError, match="may mean") as caught:
        urls.found(url, chdir=tmp_path)
    for each in (name, other):
        assert re.search(f"{re.escape(str(tmp_path / each))}[ ,]", caught.value.message)


def test_two_names_of_one_file_are_no_question(tmp_path: Path) -> None:
    (tmp_path / "my%20agent.db").touch()
    (tmp_path / "my agent.db").symlink_to("my%20agent.db")

    assert urls.found("file:./my%20agent.db", chdir=tmp_path) == tmp_path / "my%20agent.db"


def test_missing_file_is_not_replaced_by_the_one_of_the_other_reading(tmp_path: Path) -> None:
    """Prisma would make the first one; its database must not be mistaken for the other."""
    plain, decoded = tmp_path / "my%20agent.db", tmp_path / "my agent.db"
    decoded.touch()

    with pytest.raises(errors.SourceMissingError) as caught:
        urls.found("file:./my%20agent.db", chdir=tmp_path, must_exist=True)
    assert f"{plain} does not exist, but {decoded} does" in caught.value.message
    assert urls.found("file:./my%20agent.db", chdir=tmp_path) == plain, "a restore may make it"


@pytest.mark.parametrize("url", ["file:./my%20agent.db", "file:./a%00.db", "file:./%2F%2Fhost/a.db", "file:#x"])
def test_other_reading_counts_only_when_its_file_exists(tmp_path: Path, url: str) -> None:
    assert urls.found(url, chdir=tmp_path, must_exist=True) == tmp_path / url[5:]


# --- the environment file of the application -----------------------------------------------------------------------


def by_file(directory: Path, text: str, **given: str) -> Path:
    (directory / ".env").write_text(text)
    options = {
        "path": None,
        "database_url": None,
        "env_key": "DATABASE_URL",
        "chdir": str(directory / "prisma"),
        **given,
    }
    return urls.requested({**options, "env_file": str(directory / ".env")})


def test_environment_file_names_the_database(tmp_path: Path) -> None:
    assert by_file(tmp_path, "DATABASE_URL='file:../a b.db?connection_limit=1'\n") == tmp_path / "a b.db"
    assert by_file(tmp_path, "DB=file:/srv/%20.db?socket_timeout=9 # why", env_key="DB") == tmp_path / "/srv/%20.db"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@host/db", "hunter2", "sqlite:hunter2", "file://hunter2/x.db", "file:", "${hunter2}",
        "sqlite3://hunter2:8/x",
    ],
)  # fmt: skip
def test_no_message_has_a_url_from_an_environment_file(tmp_path: Path, url: str) -> None:
    with pytest.raises(errors.UsageError, match="^Cannot (use|read) DATABASE_URL (of|from) .*env: ") as caught:
        by_file(tmp_path, f"DATABASE_URL={url}")
    assert "hunter2" not in str(caught.value)


def test_relative_name_in_an_environment_file_needs_a_directory(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=file:./agent.db")
    given = {**dict.fromkeys(urls.WAYS), "env_file": str(tmp_path / ".env"), "env_key": "DATABASE_URL", "chdir": None}
    with pytest.raises(errors.UsageError, match="its path is relative. Set chdir"):
        urls.requested(given)
