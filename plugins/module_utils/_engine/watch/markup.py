# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTML, put together of elements: what is not HTML already is escaped, here and nowhere else."""

from __future__ import annotations

import html
from typing import Union

from ..system.words import plain

_VOID = ("link", "meta")
# Of a longer text nobody reads the rest, and a page of such texts is slow.
_LONGEST_CHARACTERS = 1000
_SHORT_CHARACTERS = 160

Value = Union[str, int, float, bool, None]


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: Value) -> Markup:
    """``<tag …>children</tag>``; an attribute of None or False is left out, of True has no value.

    Names end with ``_`` where Python needs that, and have ``_`` for ``-``.
    """
    words = "".join(_attribute(*each) for each in attributes.items())
    if tag in _VOID:
        return Markup(f"<{tag}{words}>")
    return Markup(f"<{tag}{words}>{joined(*children)}</{tag}>")


def _attribute(name: str, value: Value) -> str:
    if value is None or value is False:
        return ""
    word = name.rstrip("_").replace("_", "-")
    return f" {word}" if value is True else f' {word}="{_escaped(str(value))}"'


def joined(*children: str) -> Markup:
    """All of them, one behind the other."""
    return Markup("".join(each if isinstance(each, Markup) else _escaped(each) for each in children))


def whole(text: str) -> Markup:
    """``text``, however long it is: a command must not be cut."""
    return Markup(html.escape(plain(text)))


def short(text: str) -> Markup:
    """``text`` where there is room for a name, and no more."""
    return _cut(text, _SHORT_CHARACTERS)


def _escaped(text: str) -> str:
    return _cut(text, _LONGEST_CHARACTERS)


def _cut(text: str, longest: int) -> Markup:
    return whole(text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)")
