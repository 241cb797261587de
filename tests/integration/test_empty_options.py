# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No module takes an option that is given and empty, as a template of a variable that is not set is, for no option."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from integration.harness import Session
from integration.place import Place, everything

from ansible_collections.sqliteops.backup.plugins import modules
from ansible_collections.sqliteops.backup.plugins.module_utils import _module
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError

MODULES = sorted(each.stem for each in Path(next(iter(modules.__path__))).glob("sqlite_*.py"))
# Empty is what they are when they are not given.
MAY_BE_EMPTY = {("sqlite_backup", "reason")}


def argument_spec(module: str) -> dict[str, Any]:
    found: dict[str, Any] = importlib.import_module(
        f"ansible_collections.sqliteops.backup.plugins.modules.{module}"
    ).ARGUMENT_SPEC
    return found


def texts(spec: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each option that takes a text, with values in which only that one is given, and empty."""
    for name, each in spec.items():
        is_list = each["type"] == "list"
        if "options" in each:
            for told, content in texts(each["options"], f"{above}{name}."):
                yield told, {name: [content] if is_list else content}
        elif each.get("elements", each["type"]) in ("str", "path") and "choices" not in each:
            yield f"{above}{name}", {name: ["a", ""] if is_list else ""}


@pytest.mark.parametrize(
    ("module", "told", "given"),
    [(module, told, given) for module in MODULES for told, given in texts(argument_spec(module))],
)
def test_what_is_empty_is_refused(module: str, told: str, given: dict[str, Any]) -> None:
    if (module, told) in MAY_BE_EMPTY:
        _module.check_given(given, argument_spec(module))
        return
    with pytest.raises(UsageError, match=rf"Cannot use {told}: it is given, and empty"):
        _module.check_given(given, argument_spec(module))


@pytest.mark.parametrize("option", ["dest", "before", "backup"])
def test_restore_does_nothing_for_a_variable_that_is_not_set(ansible: Session, place: Place, option: str) -> None:
    place.backed_up()
    before = everything(place.srv)

    result = ansible.task("sqlite_restore", {"repository": str(place.repository), option: "{{ look | default('') }}"})

    assert result["failed"]
    assert result["error"]["code"] == 2
    assert option in result["msg"]
    assert everything(place.srv) == before
