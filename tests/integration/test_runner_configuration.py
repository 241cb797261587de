# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the runner's configuration are the options of the modules: same names, types, choices and defaults."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import config, target_config
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner.config import Key

# What only one run is about, and what the runner chooses itself.
NO_KEYS = {"reason", "pinned", "force", "backup", "before", "dest", "owner", "group", "mode", "force_identity", "undo"}
NO_KEYS_OF = {
    "sqlite_restore": {"check", "with_files", "files_to"},
    # They are in the key drill, where the target is a name.
    "sqlite_restore_drill": {"target", "every", "prove_within", "scratch_dir"},
    "sqlite_verify": {"path", "level"},
    "sqlite_backup_info": {"repository"},
    "sqlite_export": {"path", "tables", "format"},
    "sqlite_import": {"src"},
}
# Only who is started by a schedule is late, and only a configuration has targets by their names.
OF_THE_RUNNER = {"due", "targets", "drill"}
MODULES = (
    *("sqlite_backup", "sqlite_backup_prune", "sqlite_restore", "sqlite_restore_drill", "sqlite_verify"),
    *("sqlite_backup_info", "sqlite_export", "sqlite_import"),
)
# How long copies stay at a target, and how old they may be: the modules remove and watch nothing there.
OF_THE_RUNNERS_TARGETS = {"rpo", "keep_within", "keep_suspect", "timezone", *retention.COUNTS}
OFFSITE_MODULES = ("sqlite_offsite_push", "sqlite_offsite_pull")
TYPES = {"text": "str", "duration": "str", "path": "path", "number": "int", "flag": "bool", "anything": "raw"}
TYPES |= {"object": "dict", "mapping": "dict"}
EMPTY: dict[str, Any] = {"list": [], "mapping": {}}


def as_spec(key: Key) -> dict[str, Any]:
    """A key as an argument spec of Ansible has it."""
    spec: dict[str, Any] = {"type": TYPES.get(key.type, key.type), "choices": list(key.choices)}
    spec.update(default=EMPTY.get(key.type, key.default), required=key.required)
    if key.type == "list":
        spec["elements"] = "dict" if key.keys else "str"
    return {**spec, "options": {name: as_spec(each) for name, each in key.keys.items()}}


def normal(spec: Mapping[str, Any]) -> dict[str, Any]:
    """An argument spec with all that may be left out."""
    found = {"choices": [], "default": None, "required": False, **spec}
    found.pop("no_log", None)
    return {**found, "options": {name: normal(each) for name, each in spec.get("options", {}).items()}}


def specs() -> dict[str, dict[str, Any]]:
    """Every option of a module that is a key, from each module that has it."""
    found: dict[str, dict[str, Any]] = {}
    for module in MODULES:
        for name, spec in argument_spec(module).items():
            if name not in NO_KEYS | NO_KEYS_OF.get(module, set()):
                found.setdefault(name, {})[module] = normal(spec)
    return found


def argument_spec(module: str) -> dict[str, Any]:
    found: dict[str, Any] = importlib.import_module(
        f"ansible_collections.sqliteops.backup.plugins.modules.{module}"
    ).ARGUMENT_SPEC
    return found


def test_keys_are_the_options_of_the_modules() -> None:
    assert set(specs()) == set(config.KEYS) - OF_THE_RUNNER


@pytest.mark.parametrize("name", sorted(set(config.KEYS) - OF_THE_RUNNER))
def test_key_has_the_type_the_default_and_the_choices_of_the_option(name: str) -> None:
    wanted = as_spec(config.KEYS[name])
    for module, spec in specs()[name].items():
        # Some modules do without a repository; a configured database never does.
        assert spec == ({**wanted, "required": spec["required"]} if name == "repository" else wanted), module


@pytest.mark.parametrize("module", OFFSITE_MODULES)
def test_keys_of_a_target_are_the_options_of_the_modules(module: str) -> None:
    wanted = {name: as_spec(key) for name, key in target_config.KEYS.items() if name not in OF_THE_RUNNERS_TARGETS}
    assert normal(argument_spec(module)["target"])["options"] == wanted
