# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files are read as the package dotenv reads them, and expanded as Prisma does it."""

from __future__ import annotations

import re
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import dotenv
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    SourceMissingError,
    UsageError,
)
from support import limits

# How a value may be written that has no quote, no backslash and no line end in it.
_STYLES = ["{name}={value}", "export {name} = '{value}'", '{name}: "{value}" # why', "\t{name} =`{value}`  "]
_VALUES = st.text(st.characters(exclude_characters="'\"`\\#", exclude_categories=["C", "Z"]), min_size=1)
_SETTINGS = st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True), _VALUES, max_size=5)


@given(
    _SETTINGS, st.lists(st.sampled_from(_STYLES), min_size=5, max_size=5), st.sampled_from(["\n", "\r\n", "\n\n#\n"])
)
def test_what_was_written_is_read(settings: dict[str, str], styles: list[str], line_end: str) -> None:
    lines = [style.format(name=name, value=settings[name]) for name, style in zip(settings, styles)]
    assert dotenv.parsed(line_end.join(lines)) == settings


@given(st.text(st.sampled_from("AB= :'\"`#\\\n\r\texport$-.\u2003")))
def test_no_text_is_too_odd(text: str) -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in dotenv.parsed(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=file:./agent.db", "file:./agent.db"),
        ("\ufeffA=x\n", "x"),
        ("export  A = x # why\n", "x"),
        ("A: x", "x"),
        ("A='file:./my db#1.db' # why", "file:./my db#1.db"),
        ("A=file:./agent#1.db", "file:./agent"),
        ('A="a\\nb"', "a\nb"),
        ("A='a\\nb'", "a\\nb"),
        ('A="one\ntwo"\nB=2', "one\ntwo"),
        ("A=\nB=2", ""),
        ("A=1\nA=2", "2"),
        ("#A=1\nA=2\n# A=3", "2"),
        ("A='open\nB=2", "'open"),
        ("\r\nA=x\r\nB=y\r\n", "x"),
        ("A=a=b==", "a=b=="),
        ("A='it\\'s'", "it\\'s"),
        ("A='x' y", "'x' y"),
        ("A='x' 'y'", "x' 'y"),
        ("A='\\'\nB=2", "\\"),
        ("A=\n'x'\nB=2", "x"),
        ("A:x\nA=2\nA :3", "2"),
        ("export\nA=x", "x"),
    ],
)
def test_value_of_a_setting(text: str, value: str) -> None:
    assert dotenv.parsed(text)["A"] == value


def lookup(directory: Path, text: str, key: str = "A") -> str:
    file = directory / ".env"
    file.write_bytes(text.encode())
    return dotenv.lookup(file, key).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("D=/srv\nA=file:${D}/agent.db", "file:/srv/agent.db"),
        ("A=file:$D/agent.db\nD=/srv", "file:$D/agent.db"),
        ("A=file:\\${D}/agent.db", "file:${D}/agent.db"),
        ("A='${B}${B}'\nB=b${C}\nC=c", "bcbc"),
        ("A=${B:-x}\nB=1", "${B:-x}"),
        ("A=x${B}\nB=", "x"),
    ],
)
def test_braces_take_the_value_of_another_setting(tmp_path: Path, text: str, value: str) -> None:
    assert lookup(tmp_path, text) == value


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"TOKEN={SECRET}", "does not set it"),
        (f"A=\nTOKEN={SECRET}", "does not set it"),
        (f"A={SECRET}${{{SECRET}}}", "of another name, which the file does not set"),
        (f"A={SECRET}${{B}}\nB=${{A}}", "its own value"),
        (f"B={SECRET}" + "".join(f"\nB{n}=${{B{n + 1}}}" for n in range(9999)) + "\nA=${B0}", "its own value"),
        (f"A={SECRET}${{}}", "another name"),
        (f"B={SECRET * 20000}\nA=${{B}}", "more than 64.0 KiB"),
        (f"B={SECRET}\n" * 120000, "more than 1.0 MiB"),
    ],
)
def test_no_message_has_a_word_of_the_file(tmp_path: Path, text: str, why: str) -> None:
    with limits.within(10), pytest.raises(EngineError, match=why) as caught:
        lookup(tmp_path, text)
    assert SECRET not in f"{caught.value} {caught.value.hint}"
    assert "Cannot read A from " in str(caught.value)


def test_what_doubles_at_each_name_is_worked_out_once(tmp_path: Path) -> None:
    names = "".join(f"N{n}=${{N{n + 1}}}${{N{n + 1}}}\n" for n in range(18))
    with limits.within(10):
        with pytest.raises(UsageError, match="64.0 KiB"):
            lookup(tmp_path, f"A=${{N0}}\n{names}N18=x")
        assert lookup(tmp_path, f"A=x${{N0}}\n{names}N18=") == "x"


@pytest.mark.parametrize(
    "piece", ["\n", "A='", "A='\\'", " ", "A=", "export ", "A\n", "\\'#", '"\n', "'#\n`", "\u2003"]
)
def test_no_file_takes_long(piece: str) -> None:
    """It belongs to a user, and root reads it."""
    with limits.within(10):
        dotenv.parsed(piece * (200_000 // len(piece)))
        dotenv.parsed("A='" + piece * (200_000 // len(piece)))
        dotenv.parsed("A=x" + piece * (200_000 // len(piece)) + "x")


def test_a_long_value_is_not_put_together_many_times(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with limits.within(10), pytest.raises(UsageError, match="more than 1.0 MiB"):
            lookup(tmp_path, f"B={'x' * 65_000}\nA={'${B}' * 10_000}")
        assert tracemalloc.get_traced_memory()[1] < 20 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="does not exist"):
        dotenv.lookup(tmp_path / "gone", "A")


@pytest.mark.skipif(sys.platform == "win32", reason="links are for those who may make them there")
def test_link_is_followed_and_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").write_text("A=x")
    assert dotenv.lookup(tmp_path / "link", "A").value == "x"
    with pytest.raises(EngineError):
        dotenv.lookup(tmp_path, "A")
