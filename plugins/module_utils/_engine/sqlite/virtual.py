# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SQL of a virtual table, read as SQLite and its full-text modules read it. Pure functions."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

FULL_TEXT = ("fts3", "fts4", "fts5")
# What SQLite reads as one: https://www.sqlite.org/draft/tokenreq.html. What has no end goes to the end of the text.
_TOKEN = re.compile(
    r"""(?P<gap>[ \t\n\f\r]+|--[^\n]*|/\*.*?(?:\*/|\Z))"""
    r"""|(?P<word>"[^"]*(?:""[^"]*)*(?:"|\Z)|'[^']*(?:''[^']*)*(?:'|\Z)|`[^`]*(?:``[^`]*)*(?:`|\Z)|\[[^\]]*(?:\]|\Z)"""
    r"""|[\w$\x80-\U0010ffff]+)|(?P<sign>.)""",
    re.DOTALL | re.ASCII,
)
_START = ["create", "virtual", "table"]
# Both by the sources of the modules: a word without quotes, "=", and then a word.
_FTS5_OPTION = re.compile(r"([\w\x1a\x80-\U0010ffff]*) *= *(.*)", re.DOTALL | re.ASCII)
# In the order in which FTS5 compares them; the beginning of a name is enough for it.
_FTS5_OPTIONS = (
    *("prefix", "tokenize", "content", "contentless_delete", "contentless_unindexed", "content_rowid", "columnsize"),
    *("detail", "tokendata", "locale"),
)
# Options with which the rows of a table, and where they are, tell all that is in it: the index is made out of them.
_KNOWN = {
    "fts5": {*_FTS5_OPTIONS} - {"contentless_unindexed", "locale"},
    "fts4": {"matchinfo", "prefix", "order", "content", "languageid", "notindexed"},
}


@dataclass(frozen=True)
class Virtual:
    """A virtual table: its name, its module in lower case, and the arguments of that, as they are written."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class FullText:
    """The options of a full-text table.

    ``content`` is the table with its texts: None when it keeps them itself, empty when nobody does. ``content_rowid``
    is the column of that by which they are found. ``has_languages`` says that each row names one. ``indexes`` are
    those that an FTS4 table has for each language. ``unknown`` are options that nothing here knows to be harmless.
    """

    content: str | None = None
    content_rowid: str = "rowid"
    has_languages: bool = False
    indexes: int = 1
    unknown: tuple[str, ...] = ()


@functools.lru_cache(maxsize=64)
def parsed(sql: str) -> Virtual:
    """What ``CREATE VIRTUAL TABLE`` says; all is empty for what is no such statement."""
    words = ((found.lastgroup, found[0], found.start(), found.end()) for found in _TOKEN.finditer(sql))
    tokens = (each for each in words if each[0] != "gap")
    texts = [each[1] for _place, each in zip(range(6), tokens)]
    if [each.lower() for each in (*texts[:3], *texts[4:5])] != [*_START, "using"] or len(texts) < 6:
        return Virtual("", "")
    return Virtual(unquoted(texts[3]), unquoted(texts[5]).lower(), tuple(_arguments(sql, tokens)))


def _arguments(sql: str, tokens: Iterator[tuple[str | None, str, int, int]]) -> Iterator[str]:
    """Each from its first token to its last, with what stands between them."""
    depth = 0
    start = end = -1
    for _kind, text, first, last in tokens:
        depth += (text == "(") - (text == ")")
        if (text == "," and depth == 1) or (text == ")" and depth == 0):
            yield sql[start:end] if start >= 0 else ""
            start = -1
        elif depth > 1 or text != "(":
            start, end = first if start < 0 else start, last
        if depth == 0:
            return


def unquoted(word: str) -> str:
    """A word without the quotes around it, if it has any."""
    if not word or word[0] not in "\"'`[":
        return word
    inner = word[1:-1]
    return inner if word[0] == "[" else inner.replace(word[0] * 2, word[0])


def full_text(found: Virtual) -> FullText:
    """The options of a table of one of ``FULL_TEXT``."""
    if found.module == "fts3":
        # It has none beside its tokenizer: what looks like one is a column.
        return FullText()
    given = dict(filter(None, map(_fts5_option if found.module == "fts5" else _fts4_option, found.arguments)))
    prefixes = given.get("prefix", "")
    return FullText(
        content=given.get("content"),
        content_rowid=given.get("content_rowid", "rowid"),
        has_languages="languageid" in given,
        indexes=1 + (prefixes.count(",") + 1 if prefixes else 0),
        unknown=tuple(sorted(set(given) - _KNOWN.get(found.module, set()))),
    )


def _fts5_option(argument: str) -> tuple[str, str] | None:
    """See ``sqlite3Fts5ConfigParse`` in https://www.sqlite.org/src/file/ext/fts5/fts5_config.c."""
    found = _FTS5_OPTION.fullmatch(argument)
    if not found:
        return None
    name = found[1].lower()
    return next((each for each in _FTS5_OPTIONS if each.startswith(name)), name), unquoted(found[2].rstrip(" "))


def _fts4_option(argument: str) -> tuple[str, str] | None:
    """See ``fts3InitVtab`` in https://www.sqlite.org/src/file/ext/fts3/fts3.c; a space beside "=" is not overlooked."""
    name, sign, value = argument.partition("=")
    if not sign or re.match(r"tokenize[^\w\x80-\U0010ffff]", argument, re.IGNORECASE | re.ASCII):
        return None
    return name.lower(), unquoted(value)
