# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import include, manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.include import Include
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import StoredFile
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.reading import Storage
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import dotenv
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    NoSpaceError,
    PermissionDeniedError,
    SourceBusyError,
    SourceMissingError,
    UsageError,
)
from support import databases, limits, manifests, processes
from support.meddled import Meddled


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The database that the files are to stand beside."""
    return databases.make(tmp_path / "agent.db")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the files to include are."""
    directory = tmp_path / "app"
    directory.mkdir()
    return directory


def write(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def gathered(source: Path, *wanted: Include) -> list[str]:
    return [each.name for each in include.gather(wanted, source=source)]


# --- what is found -------------------------------------------------------------------------------------------------


def _store(included: list[include.Included], directory: Path) -> Sequence[StoredFile]:
    return include.store(included, Storage(directory)).files


def test_file_keeps_its_own_name_or_gets_one(source: Path, place: Path) -> None:
    env = write(place / ".env")
    assert gathered(source, Include(env), Include(env, "settings/env")) == [".env", "settings/env"]


def test_directory_is_taken_whole_and_in_order(source: Path, place: Path) -> None:
    for name in ("b.log", "a.log", "deep/er/c.log", ".hidden"):
        write(place / "logs" / name)
    expected = [".hidden", "a.log", "b.log", "deep/er/c.log"]
    assert gathered(source, Include(place / "logs")) == [f"logs/{name}" for name in expected]
    assert gathered(source, Include(place / "logs", "x/y")) == [f"x/y/{name}" for name in expected]


def test_link_that_is_named_is_followed_and_links_inside_are_not(source: Path, place: Path) -> None:
    """A link inside a directory could lead anywhere, or round in a circle."""
    write(place / "real" / "a")
    write(place / "elsewhere" / "secret")
    (place / "real" / "link").symlink_to(place / "elsewhere" / "secret")
    (place / "real" / "up").symlink_to(place)
    (place / "named").symlink_to(place / "real")
    assert gathered(source, Include(place / "named")) == ["named/a"]


@pytest.mark.parametrize("name", [each.replace("&x=1", "") for each in databases.ODD_NAMES])
def test_odd_names_are_found_and_stored(source: Path, place: Path, tmp_path: Path, name: str) -> None:
    write(place / "logs" / name / name)
    included = include.gather([Include(place / "logs")], source=source)
    (stored,) = _store(included, tmp_path / "staging")
    assert stored.path == f"files/logs/{name}/{name}"
    assert (tmp_path / "staging" / stored.path).read_bytes() == b"content"


def test_missing_file_is_an_error(source: Path, place: Path) -> None:
    """Nothing is left out silently: whoever named it wants it back one day."""
    with pytest.raises(
        SourceMissingError, match=f"the file to include, {re.escape(str(place / 'gone'))}, does not exist"
    ):
        gathered(source, Include(place / "gone"))


def test_pipe_is_refused_and_neither_waited_for_nor_left_out(source: Path, place: Path) -> None:
    os.mkfifo(place / "pipe")
    with limits.within(10), pytest.raises(UsageError, match="neither a file nor a directory"):
        gathered(source, Include(place / "pipe"))


def test_file_that_may_not_be_read_is_an_error() -> None:
    with processes.open_directory() as place:
        source = databases.make(place / "agent.db")
        write(place / "env").chmod(0)
        with (
            limits.unprivileged(),
            pytest.raises(PermissionDeniedError, match=f"Cannot include {re.escape(str(place / 'env'))}"),
        ):
            gathered(source, Include(place / "env"))


def test_directory_that_may_not_be_read_is_an_error() -> None:
    """One closed directory among many must not simply be missing from the backup."""
    with processes.open_directory() as place:
        source = databases.make(place / "agent.db")
        write(place / "logs" / "open" / "a")
        write(place / "logs" / "closed" / "b")
        (place / "logs" / "closed").chmod(0)
        with (
            limits.unprivileged(),
            pytest.raises(PermissionDeniedError, match=f"cannot read {re.escape(str(place / 'logs'))}"),
        ):
            gathered(source, Include(place / "logs"))


# --- names that cannot be ------------------------------------------------------------------------------------------


def test_database_itself_is_refused(source: Path, place: Path) -> None:
    """A plain copy of a live database is what this collection exists to replace."""
    (place / "link").symlink_to(source)
    for src in (source, source.parent, place / "link"):
        with pytest.raises(UsageError, match="include names the database itself"):
            gathered(source, Include(src))


def test_two_files_of_one_name_are_refused(source: Path, place: Path) -> None:
    """The second would replace the first in the backup."""
    one, other = write(place / "one" / "env"), write(place / "other" / "env")
    with pytest.raises(UsageError, match="include names two files 'env'"):
        gathered(source, Include(one), Include(other))
    with pytest.raises(UsageError, match="include names two files 'one/env'"):
        gathered(source, Include(place / "one"), Include(other, "one/env"))


def test_same_name_written_differently_is_the_same_name(source: Path, place: Path) -> None:
    env = write(place / "env")
    with pytest.raises(UsageError, match="include names two files 'a/env'"):
        gathered(source, Include(env, "a/env"), Include(env, "a//./env"))


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b", "a/b/c/d")])
def test_name_that_is_a_file_and_a_directory_is_refused(source: Path, place: Path, names: tuple[str, str]) -> None:
    """It must be said before the copy of the database is made, and in words that lead to the mistake."""
    env = write(place / "env")
    with pytest.raises(UsageError, match="both as a file and as a directory"):
        gathered(source, *(Include(env, name) for name in names))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "..", "../env", "a/../../env", "a/..", ".", "a\\..\\..\\env", "C:env", "a:b"]
)
def test_name_that_leaves_the_backup_is_refused(source: Path, place: Path, name: str) -> None:
    env = write(place / "env")
    with pytest.raises(UsageError, match=re.escape(f"Cannot include a file as {name!r}")):
        gathered(source, Include(env, name))


@pytest.mark.parametrize("name", ["2025-01-01T12:00:00.log", "back\\slash"])
def test_name_inside_a_directory_that_a_manifest_cannot_hold_is_refused(source: Path, place: Path, name: str) -> None:
    """The backup would be published, and its manifest refused ever after."""
    write(place / "logs" / "deep" / name)
    with pytest.raises(UsageError, match=re.escape(f"Cannot include a file as {'logs/deep/' + name!r}")):
        gathered(source, Include(place / "logs"))


FILE_NAMES = st.text("ab.:\\ -", min_size=1, max_size=5)


@given(st.lists(FILE_NAMES, min_size=1, max_size=3).map("/".join))
def test_name_that_is_taken_is_one_that_a_manifest_holds(name: str) -> None:
    """Both look at the same names; they must not disagree."""
    try:
        checked = include.checked_name(name)
    except UsageError:
        return
    stored = manifest.StoredFile(f"{include.DIRECTORY}/{checked}", manifest.INCLUDE_ROLE, 0, "0" * 64)
    written = manifests.example(files=(manifests.example().content_file, stored))
    assert manifest.from_bytes(manifest.to_bytes(written)) == written


# --- what is stored ------------------------------------------------------------------------------------------------


def test_files_are_stored_as_they_are_and_private(source: Path, place: Path, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    write(place / "prisma" / "schema.prisma", b"model Run {}\n")
    write(place / "prisma" / "big", content)
    included = include.gather([Include(place / "prisma")], source=source)
    stored = _store(included, tmp_path / "staging")
    assert [(each.path, each.role, each.bytes) for each in stored] == [
        ("files/prisma/big", "include", 3_000_000),
        ("files/prisma/schema.prisma", "include", 13),
    ]
    assert (tmp_path / "staging" / "files" / "prisma" / "big").read_bytes() == content
    for each in (tmp_path / "staging").rglob("*"):
        assert stat.S_IMODE(each.stat().st_mode) == (0o700 if each.is_dir() else 0o600)


def _replace(path: Path, content: bytes) -> None:
    """As careful programs do it."""
    write(path.with_name("new"), content).rename(path)


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("change", [_replace, write])
@pytest.mark.parametrize("later", [b"X", b"another one, which is longer", b"CONTENT", b""])
def test_file_that_became_another_one_is_stored_whole(
    source: Path, place: Path, tmp_path: Path, change: Callable[[Path, bytes], object], later: bytes, required: bool
) -> None:
    path = write(place / "schema.prisma")
    included = include.gather([Include(path, required=required)], source=source)
    change(path, later)
    stored = include.store(included, Storage(tmp_path / "staging"))
    assert (tmp_path / "staging" / "files" / "schema.prisma").read_bytes() == later
    assert (stored.warnings, include.digests(stored.included)) == ((), {"schema.prisma": stored.files[0].sha256})
    assert stored.files[0].sha256 == hashlib.sha256(later).hexdigest()


def test_file_that_is_replaced_while_it_is_read_is_one_of_both(source: Path, place: Path, tmp_path: Path) -> None:
    old, new = b"a" * 3_000_000, b"b" * 3_000_000
    path = write(place / "big", old)
    included = include.gather([Include(path)], source=source)
    include.store(included, Meddled(tmp_path / "staging", lambda: _replace(path, new)))
    assert (tmp_path / "staging" / "files" / "big").read_bytes() in (old, new)


@pytest.mark.parametrize("required", [False, True])
def test_of_a_file_that_changes_all_the_time_nothing_is_stored(
    source: Path, place: Path, tmp_path: Path, required: bool
) -> None:
    path = write(place / "deep" / "big", b"a" * 3_000_000)
    write(place / "deep" / "small")
    included = include.gather([Include(place, required=required)], source=source)

    def meddle() -> None:
        with path.open("r+b") as file:
            file.seek(2_900_000)
            file.write(os.urandom(16))

    storage = Meddled(tmp_path / "staging", meddle)
    if required:
        with pytest.raises(SourceBusyError, match=r"Cannot include .*big: it changes while it is read"):
            include.store(included, storage)
    else:
        stored = include.store(included, storage)
        assert [each.path for each in stored.files] == ["files/app/deep/small"] == [*stored.names]
        assert [each.path for each in stored.origins] == ["files/app/deep/small"]
        assert stored.warnings == (f"not included: Cannot include {path}: it changes while it is read.",)
        assert [each.name for each in (tmp_path / "staging").rglob("*") if each.is_file()] == ["small"]


@pytest.mark.parametrize("instead", [None, "link", "fifo", "directory"])
def test_optional_file_that_is_gone_by_then_is_left_out(
    source: Path, place: Path, tmp_path: Path, instead: str | None
) -> None:
    path = write(place / "x" / "metrics")
    included = include.gather([Include(path, "m/x", required=False), Include(write(place / "b"))], source=source)
    path.unlink()
    if instead == "link":
        path.symlink_to(place / "b")
    elif instead == "fifo":
        os.mkfifo(path)
    elif instead == "directory":
        path.mkdir()
    with limits.within(10):
        stored = include.store(included, Storage(tmp_path / "staging"))
    assert [*stored.names] == ["files/b"]
    assert [each.name for each in sorted((tmp_path / "staging").rglob("*"))] == ["files", "b"]
    (warning,) = stored.warnings
    assert warning.startswith("not included: Cannot ")
    assert str(path) in warning
    strict = include.gather([Include(write(place / "c"))], source=source)
    (place / "c").unlink()
    with pytest.raises(EngineError, match=re.escape(f"Cannot include {place / 'c'}")):
        include.store(strict, Storage(tmp_path / "other"))


def test_file_without_an_end_that_took_the_place_is_read_no_longer_than_the_timeout(
    source: Path, place: Path, tmp_path: Path
) -> None:
    path = write(place / "a")
    included = include.gather([Include(path, required=False)], source=source)
    os.truncate(path, 1 << 40)
    write(path.with_name("new"), b"another")
    os.truncate(path.with_name("new"), 1 << 40)
    path.with_name("new").rename(path)
    with limits.within(10):
        stored = include.store(included, Storage(tmp_path / "staging"), deadline=Deadline(0.2))
    assert "could not be read before the timeout" in stored.warnings[0]


@pytest.mark.parametrize("required", [False, True])
def test_what_cannot_be_written_is_no_matter_of_the_file(
    source: Path, place: Path, tmp_path: Path, required: bool
) -> None:
    """A full disk must not leave out what may be missing, and then call it a backup."""
    import resource

    path = write(place / "a", b"x" * 5_000_000)
    included = include.gather([Include(path, required=required)], source=source)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(NoSpaceError, match="Cannot write "):
            include.store(included, Storage(tmp_path / "staging"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_digests_tell_whether_a_backup_holds_the_same_files(source: Path, place: Path, tmp_path: Path) -> None:
    """A changed .env makes a new backup necessary, though the database is the same."""
    env = write(place / "env", b"A=1\n")
    wanted = [Include(env), Include(env, "hidden", redact=True)]
    included = include.gather(wanted, source=source)
    stored = _store(included, tmp_path / "staging")
    document = manifests.example(files=(manifests.example().content_file, *stored))
    assert include.stored_digests(document) == include.digests(included)
    assert include.digests(included)["env"] == hashlib.sha256(b"A=1\n").hexdigest()
    write(env, b"A=2\n")
    changed = include.digests(include.gather(wanted, source=source))
    assert changed["env"] != include.digests(included)["env"]
    assert changed["hidden"] == include.digests(included)["hidden"]


def test_secret_reaches_neither_the_artifact_nor_its_digest(source: Path, place: Path, tmp_path: Path) -> None:
    env = write(place / "env", b"TOKEN=hunter2\n")
    included = include.gather([Include(env, redact=True)], source=source)
    (stored,) = _store(included, tmp_path / "staging")
    assert (tmp_path / "staging" / "files" / "env").read_bytes() == b"TOKEN=<redacted>\n"
    assert stored.sha256 == included[0].sha256 == hashlib.sha256(b"TOKEN=<redacted>\n").hexdigest()


def test_every_file_of_a_redacted_directory_is_redacted(source: Path, place: Path) -> None:
    write(place / "conf" / "a" / "env", b"A=hunter2\n")
    (included,) = include.gather([Include(place / "conf", redact=True)], source=source)
    assert b"".join(included.chunks()) == b"A=<redacted>\n"


# --- redaction -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".env", ".env.production", ".ENV", ".env~", ".env.local.bak"])
def test_environment_file_is_redacted_unless_somebody_says_otherwise(source: Path, place: Path, name: str) -> None:
    write(place / "conf" / name, b"A=hunter2\n")
    write(place / "conf" / "deep" / name, b"A=hunter2\n")
    write(place / "conf" / "app.conf", b"A=hunter2\n")
    (place / "conf.env").symlink_to(place / "conf" / name)
    (place / name).symlink_to(place / "conf" / "app.conf")
    whole, hidden = b"A=hunter2\n", b"A=<redacted>\n"

    def stored(src: Path, **options: Any) -> dict[str, bytes]:
        found = include.gather([Include(src, **options)], source=source)
        assert [each.redact for each in found] == [b"hunter2" not in b"".join(each.chunks()) for each in found]
        return {each.name: b"".join(each.chunks()) for each in found}

    both = {f"conf/{name}": hidden, f"conf/deep/{name}": hidden}
    assert stored(place / "conf") == {**both, "conf/app.conf": whole}
    assert stored(place / "conf", redact=True) == dict.fromkeys([*both, "conf/app.conf"], hidden)
    assert stored(place / "conf", redact=False) == dict.fromkeys([*both, "conf/app.conf"], whole)
    # By whatever name it is found or stored.
    assert stored(place / "conf.env") == {"conf.env": hidden}
    assert stored(place / name) == {name: hidden}
    assert stored(place / "conf" / "app.conf", name=f"x/{name}") == {f"x/{name}": hidden}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", b""),
        (b"A=hunter2", b"A=<redacted>\n"),
        (b"A=\n", b"A=<redacted>\n"),
        (b"export A=hunter2\n", b"export A=<redacted>\n"),
        (b"  spring.datasource.password = hunter2\n", b"  spring.datasource.password =<redacted>\n"),
        (b"A=hunter=2==\n", b"A=<redacted>\n"),
        (b"A=1\r\nB=2\r\n", b"A=<redacted>\nB=<redacted>\n"),
        (b"A=1\n\n# about B\nB=2\n", b"A=<redacted>\n\n#\nB=<redacted>\n"),
        (b"# the old key: hunter2\n  #hunter2\r\n#\n", b"#\n#\n#\n"),
        (b"# hunter2==\n#hunter2=\n# hunter2 = \n", b"#\n#\n#\n"),
        (b"#A=hunter2\n# export B_2=hunter2\n", b"#A=<redacted>\n# export B_2=<redacted>\n"),
        (b"# hunter2 = A\n#hunter2=A\n# Hunter2=A\n# x.hunter2=A\n", b"<redacted>\n" * 4),
        (b"# HUNTER2HUNTER2HUNTER2=A\n", b"<redacted>\n"),
        (
            b"DSN=\nPASSWORD=\nS3=\nAPI_KEY=\nOAUTH2_URL=\n",
            b"".join(name + b"=<redacted>\n" for name in (b"DSN", b"PASSWORD", b"S3", b"API_KEY", b"OAUTH2_URL")),
        ),
        (b"# was hunter2 = A\n## A=hunter2\n", b"<redacted>\n<redacted>\n"),
        (b"password: hunter2\n", b"<redacted>\n"),
        (b"A+=hunter2\nset A=hunter2\n$A=hunter2\nA-B=hunter2\n", b"<redacted>\n" * 4),
        (b"\xef\xbb\xbfA=hunter2\n", b"<redacted>\n"),
        (b"A=\xff\xfe\nB=1\n", b"A=<redacted>\nB=<redacted>\n"),
        (b"export DATABASE_URL_OF_THE_APPLICATION=\n", b"export DATABASE_URL_OF_THE_APPLICATION=<redacted>\n"),
    ],
)
def test_values_are_taken_out_and_names_stay(text: bytes, expected: bytes) -> None:
    assert include.redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        b'KEY="one\nSECRET=\n# SECRET\n\nSECRET"\nNEXT=1\n',
        b"KEY='one\nSECRET==\nSECRET'\nNEXT=1\n",
        b"KEY=`one\nSECRET=\n# SECRET\n`\nNEXT=1\n",
        b'KEY = "one \\"\nSECRET=\n" # the end\nNEXT=1\n',
        b'#KEY="one\n# SECRET\n# SECRET"\nNEXT=1\n',
        b"KEY=one\\\nSECRET=\\\nSECRET=\nNEXT=1\n",
        b'KEY=one"two\nSECRET="\nNEXT=1\n',
        b'KEY="a" "one\nSECRET="\nNEXT=1\n',
        b'declare -x KEY="one\nSECRET=\n# SECRET"\nNEXT=1\n',
        b"KEY=-----BEGIN PRIVATE KEY-----\nMII+/SECRET\nSECRET==\n-----END PRIVATE KEY-----\nNEXT=1\n",
        b"KEY=-----BEGIN PRIVATE KEY-----\nMII+/SECRET\nSECRET=\n-----END PRIVATE KEY-----\nNEXT=1\n",
        b"key: |\n  SECRET\n  SECRET=\nNEXT=1\n",
    ],
)
def test_value_over_several_lines_is_taken_out_whole(text: bytes) -> None:
    """Its last line in base64 looks like a setting without a value, another one like a comment."""
    result = include.redacted(text)
    assert b"SECRET" not in result
    assert result.endswith(b"NEXT=<redacted>\n")


@pytest.mark.parametrize("line", [b"A=it's", b"A=\"it's\" # don't", b"A='say \"x'", b"# it's", b'A="\\\\"', b"A=a\\\\"])
def test_value_that_ends_on_its_line_hides_no_other_name(line: bytes) -> None:
    assert include.redacted(line + b"\nNEXT=1\n").endswith(b"\nNEXT=<redacted>\n")


def test_value_that_never_ends_hides_the_rest() -> None:
    """In doubt a name is lost, never a secret."""
    assert include.redacted(b'A="one\nB=2\nC=3\n') == b"A=<redacted>\n<redacted>\n<redacted>\n"


SECRET_LINES = st.lists(
    st.text("ab=# \t:/+{}[]$", max_size=12).map(lambda line: f"{line}secret{line[::-1]}"), min_size=1
)
QUOTES = st.sampled_from(["'", '"', "`"])
SETTINGS = st.lists(
    st.tuples(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), QUOTES, SECRET_LINES), min_size=1, max_size=4
)


@given(SETTINGS, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "export ", "# "]))
def test_no_part_of_any_quoted_value_is_stored(values: list[tuple[str, str, list[str]]], end: str, prefix: str) -> None:
    """Whatever a secret looks like, and over however many lines: only the names may be read."""
    text = "".join(f"{prefix}{name}={quote}{end.join(lines)}{quote}{end}" for name, quote, lines in values)
    result = include.redacted(text.encode()).decode()
    assert "secret" not in result
    assert [line for line in result.splitlines() if "=" in line] == [
        f"{prefix}{name}=<redacted>" for name, _quote, _lines in values
    ]


_PIECES = ["A", "B=", "\n", "\n", "\r\n", " ", "'", '"', "`", "#", "\\", "export ", ": ", "=", "${A}", "x", "\nB="]


@given(st.lists(st.sampled_from([*_PIECES, "?", "?", "?"]), max_size=25))
def test_no_value_that_the_application_reads_is_stored(pieces: list[str]) -> None:
    """However odd a file is: what dotenv takes for a value, in part or whole, is not in it any more."""
    text = "".join(f"secret{place:02}" if piece == "?" else piece for place, piece in enumerate(pieces))
    read = dotenv.parsed(text)
    values = {each for value in read.values() for each in re.findall(r"secret\d\d", value)}
    names = {each for name in read for each in re.findall(r"secret\d\d", name)}
    result = include.redacted(text.encode()).decode()
    assert not [each for each in values - names if each in result]


@pytest.mark.parametrize(
    "key",
    [
        base64.urlsafe_b64encode(b"hunter2" * 4),
        base64.b64encode(b"hunter2hunter2hunt"[:17]),
        base64.b64encode(b"hunter2hunter2h"[:13]),
        base64.b32encode(b"hunter2hunter2"),
        base64.b32encode(b"hunter2"),
        b"JBSWY3DPEHPK3PX=",
        b"JBSWYDPEHPKAPX5=",
        b"JBSWYDPEHPKAPXA=",
        b"JBSWYDP=",
    ],
)
@pytest.mark.parametrize("start", [b"", b"A=1\n", b"\n", b"export "])
def test_key_that_stands_alone_is_no_name(start: bytes, key: bytes) -> None:
    assert key.endswith(b"=")
    assert key.rstrip(b"=") not in include.redacted(start + key + b"\n")


@pytest.mark.parametrize("start", ["A=$'", "A=('", "A={'a':'", "A=(`"])
def test_value_that_opens_within_a_word_is_taken_out_whole(start: str) -> None:
    assert b"hunter2" not in include.redacted(f"{start}one\nhunter2=1\n'`\n".encode())


@pytest.mark.parametrize("line", [b"A" * 65 + b"=x", b"MII" + b"A" * 70 + b"=", b"# " + b"b" * 90 + b"=x"])
def test_what_is_too_long_for_a_name_is_taken_for_a_key(line: bytes) -> None:
    assert include.redacted(b"A=1\n" + line + b"\nB=2\n") in (
        b"A=<redacted>\n<redacted>\nB=<redacted>\n",
        b"A=<redacted>\n#\nB=<redacted>\n",
    )


# --- files without an end -------------------------------------------------------------------------------------------


def test_a_file_of_holes_is_read_no_longer_than_the_timeout(source: Path, place: Path) -> None:
    os.truncate(write(place / "endless.log"), 1 << 40)
    with limits.within(10), pytest.raises(SourceBusyError, match=r"endless\.log"):
        include.gather([Include(place)], source=source, deadline=Deadline(0.2))


def test_too_much_to_redact_is_refused(source: Path, place: Path) -> None:
    os.truncate(write(place / ".env"), 1 << 40)
    with limits.within(10), pytest.raises(UsageError, match="too much to redact"):
        include.gather([Include(place / ".env", redact=True)], source=source)


def test_a_file_that_grows_is_stored_as_it_was_gathered(source: Path, place: Path, tmp_path: Path) -> None:
    """Else what is stored would have another digest than what was looked for, and might have no end."""
    path = write(place / "app.log", b"before")
    included = include.gather([Include(path)], source=source)
    write(path, b"before and after")
    assert b"".join(included[0].chunks()) == b"before"
