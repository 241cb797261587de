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

# The whole of what dotenv does: https://github.com/motdotla/dotenv/blob/v16.4.7/lib/main.js
_LINE = re.compile(
    r"(?:^|^)\s*(?:export\s+)?([A-Za-z0-9_.-]+)(?:\s*=\s*?|:\s+?)"
    r"(\s*'(?:\\'|[^'])*'|\s*\"(?:\\\"|[^\"])*\"|\s*`(?:\\`|[^`])*`|[^#\r\n]+)?\s*(?:#.*)?(?:$|$)",
    re.MULTILINE,
)


def as_dotenv(text: str) -> dict[str, str]:
    found = {}
    for match in _LINE.finditer(re.sub(r"\r\n?", "\n", text)):
        value = (match[2] or "").strip()
        plain = re.sub(r"^(['\"`])([\s\S]*)\1$", r"\2", value, flags=re.MULTILINE)
        if value[:1] == '"':
            plain = plain.replace("\\n", "\n").replace("\\r", "\r")
        found[match[1]] = plain
    return found


_PIECES = [
    "A",
    "B_1",
    "export ",
    "export",
    " ",
    "\t",
    "\n",
    "\n",
    "\r\n",
    "=",
    "=",
    ":",
    ": ",
    "'",
    '"',
    "`",
    "#",
    "\\",
]
_PIECES += ["\\n", "\\'", '\\"', "$", "x", "-", ".", "A=", "B='", 'A="', "\nA=", "\nB="]


@given(st.lists(st.sampled_from(_PIECES), max_size=30).map("".join))
def test_it_reads_whatever_dotenv_reads(text: str) -> None:
    assert dotenv.parsed(text) == as_dotenv(text)


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
