# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of roles, as text and with the types that the runner insists on. What is wrong is a ``UsageError``."""

from __future__ import annotations

import ntpath
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import strict
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.plugin_utils import windows as of_windows

Absolute = Callable[[Any, str], str]


def absolute(path: Any, where: str, home: str, *, windows: bool = False) -> str:
    """``path`` with ``home`` for ``~``; of a Windows host with its own slashes, from a drive or a share."""
    text = str(path)
    if windows:
        return of_windows.absolute(path, where)
    if home and (text == "~" or text.startswith("~/")):
        text = home + text[1:]
    if not text.startswith("/") or "\0" in text:
        raise UsageError(f"{where} is {text!r}. Allowed is an absolute path.")
    return text


def made(path: Any, where: str, home: str, *, windows: bool = False) -> str:
    """A path that a role makes: the modules of Ansible would put a variable of the environment for a ``$``."""
    if windows:
        return of_windows.made(path, where)
    text = posixpath.normpath(absolute(path, where, home))
    if "$" in text:
        raise UsageError(f"{where} is {text!r}. Allowed is a path without $, which Ansible would take for a variable.")
    return text


@dataclass(frozen=True)
class Paths:
    """How paths of a host are written, and joined: of one with ``windows``, or of one where ``~`` is ``home``."""

    home: str = ""
    windows: bool = False

    def absolute(self, path: Any, where: str) -> str:
        return absolute(path, where, self.home, windows=self.windows)

    def made(self, path: Any, where: str) -> str:
        return made(path, where, self.home, windows=self.windows)

    @property
    def names(self) -> ModuleType:
        """What knows how names of that host are taken apart: posixpath or ntpath."""
        return ntpath if self.windows else posixpath


def typed_object(
    given: Mapping[str, Any], keys: Mapping[str, strict.Key], absolute_path: Absolute, where: str
) -> dict[str, Any]:
    """``given`` with the types that the runner insists on: a template gives text, and null is what nobody set."""
    for key in mapping(given, where):
        if key not in keys:
            raise UsageError(f"{where}: there is no key {key}. {strict.nearest(str(key), [*keys])}")
    return {
        key: _typed(value, keys[key], absolute_path, f"{where}: {key}")
        for key, value in given.items()
        if value is not None or keys[key].type == "anything"
    }


def _typed(value: Any, key: strict.Key, absolute_path: Absolute, where: str) -> Any:
    if key.type == "path":
        return absolute_path(value, where)
    if key.type == "number":
        return _number(value, where)
    if key.type == "flag":
        return flag(value, where)
    if key.type == "object":
        return typed_object(value, key.keys, absolute_path, where)
    if key.type == "mapping":
        return {str(name): each for name, each in mapping(value, where).items() if each is not None}
    if key.type == "list":
        return _list(value, key, absolute_path, where)
    return value if key.type == "anything" else str(value)


def _list(value: Any, key: strict.Key, absolute_path: Absolute, where: str) -> list[Any]:
    """As an argument of Ansible: a text is a list with commas."""
    found = [each.strip() for each in value.split(",")] if isinstance(value, str) else sequence(value, where)
    return [typed_object(each, key.keys, absolute_path, where) if key.keys else _text(each, where) for each in found]


def mapping(value: Any, where: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} is {value!r}. Allowed is a dictionary.")
    return value


def sequence(value: Any, where: str) -> Sequence[Any]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise UsageError(f"{where} is {value!r}. Allowed is a list.")
    return value


def _text(value: Any, where: str) -> str:
    """An item of a list: what is empty in YAML is null, and no tag or table has the name None."""
    if value is None or (isinstance(value, (Mapping, Sequence)) and not isinstance(value, str)):
        raise UsageError(f"{where} has the item {value!r}. Allowed are texts.")
    return str(value)


def _number(value: Any, where: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise UsageError(f"{where} is {value!r}. Allowed is a whole number.") from None


def flag(value: Any, where: str) -> bool:
    try:
        return bool(boolean(value))
    except TypeError:
        raise UsageError(f"{where} is {value!r}. Allowed are true and false.") from None


def for_systemd(word: str) -> str:
    """A word as a unit file has it, see "Quoting" in systemd.syntax(7); % begins a specifier there."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    escaped = re.sub(r"[\x00-\x1f\x7f]", lambda control: f"\\x{ord(control[0]):02x}", escaped)
    return f'"{escaped}"' if re.search(r"[^\w@%+=:,./-]", word) else escaped
