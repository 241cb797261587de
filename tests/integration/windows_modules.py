# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules for Windows hosts take, by their own documentation: `problems` says what is not in it.

The collections come from the package `ansible` of PyPI; the Makefile puts them in their place.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from integration import harness

_MODULES = harness.WINDOWS_COLLECTIONS / "ansible_collections"
_NAMES = ("ansible.windows", "community.windows")
# What the action plugin of win_copy says to the module, beside what the task says to the plugin.
_INTERNAL = {"ansible.windows.win_copy": ("_copy_mode", "_original_basename", "files", "directories", "symlinks")}
# As what stands behind the name of the module is documented.
_FREE_FORM = {"ansible.windows.win_shell": {"_raw_params": "free_form"}}
# ansible-core sends the one of ansible.windows for its own.
_REDIRECTED = {"ansible.builtin.setup": "ansible.windows.setup"}
_CHECKED = re.compile(r"supports_check_mode\s*=?\s*\$true", re.IGNORECASE)


def require() -> None:
    if not (harness.WINDOWS_COLLECTIONS / ".ready").exists():
        pytest.skip("MISSING: ansible.windows and community.windows; `make test` puts them below .build/")


def problems(module: str, arguments: Mapping[str, Any]) -> list[str]:
    """What the module would refuse, or not know: each an option, at whatever level."""
    specification = _specifications().get(_REDIRECTED.get(module, module))
    if specification is None:
        return [f"{module}: not a module of {' or '.join(_NAMES)}"]
    names = _FREE_FORM.get(module, {})
    given = {names.get(key, key): value for key, value in arguments.items() if key not in _INTERNAL.get(module, ())}
    return [f"{module}: {each}" for each in (*_shapes(specification, given), *_refused(specification, given))]


def without_check_mode() -> list[str]:
    """The short names of those that do nothing in check mode."""
    scripts = (path for name in _NAMES for path in _folder(name).glob("*.ps1"))
    return sorted(path.stem for path in scripts if not _CHECKED.search(path.read_text(encoding="utf-8")))


def _refused(specification: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    return list(ArgumentSpecValidator(dict(specification)).validate(dict(given)).error_messages)


def _shapes(specification: Mapping[str, Any], given: Any, place: str = "") -> Iterator[str]:
    """A list or a dictionary where a text is wanted: Ansible makes a text of it, which nobody means."""
    for name, option in specification.items():
        if not isinstance(given, Mapping) or given.get(name) is None:
            continue
        value, kind = given[name], option["type"]
        if kind in ("str", "path") and not isinstance(value, (str, int, float, bool)):
            yield f"{place}{name} is {value!r}, and wanted is {kind}"
        for each in value if kind == "list" and isinstance(value, list) else [value]:
            if option.get("elements") in ("str", "path") and not isinstance(each, (str, int, float, bool)):
                yield f"{place}{name} has {each!r}, and wanted are items of {option['elements']}"
            yield from _shapes(option.get("options", {}), each, f"{place}{name}.")


@functools.cache
def _specifications() -> dict[str, dict[str, Any]]:
    names = [f"{name}.{path.stem}" for name in _NAMES for path in _folder(name).glob("*.ps1")]
    command = [*harness.program("ansible-doc"), "--json", "--type", "module", *names]
    with tempfile.TemporaryDirectory() as folder:
        env = harness.environment(Path(folder))
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return {name: _specification(each["doc"].get("options", {})) for name, each in json.loads(done.stdout).items()}


def _specification(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _option(option) for name, option in options.items()}


def _option(option: Mapping[str, Any]) -> dict[str, Any]:
    # Some say nothing of their type, and have options of their own.
    made = {"type": option.get("type") or ("dict" if "suboptions" in option else "str")}
    made |= {key: option[key] for key in ("choices", "elements", "aliases") if option.get(key)}
    if "suboptions" in option:
        made["options"] = _specification(option["suboptions"])
    return {**made, "required": option.get("required", False)}


def _folder(name: str) -> Path:
    return _MODULES.joinpath(*name.split("."), "plugins", "modules")
