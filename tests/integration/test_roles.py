# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the roles: the same variables and defaults everywhere, and examples that pass validation."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from integration import harness

from ansible_collections.sqliteops.backup.plugins.filter import backup_plans, offsite_targets
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import (
    config,
    strict,
    target_config,
    watch_config,
)

ROLES = sorted(path.name for path in (harness.ROOT / "roles").iterdir())
GUIDES = {
    "sqlite_backup": [
        harness.ROOT / "docs" / "first-production-host.md",
        harness.ROOT / "roles" / "sqlite_restore_drill" / "README.md",
    ],
    "sqlite_monitoring": [harness.ROOT / "docs" / "monitoring.md"],
}
# For a play rather than for the role.
OF_PLAYBOOKS = {"sqlite_backup_hosts", "sqlite_restore_drill_databases"}

Options = dict[str, dict[str, Any]]


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_defaults_and_argument_specs_are_the_same(role: str) -> None:
    specified = {name: option.get("default") for name, option in _all_options(role).items()}

    assert _load(role, "defaults/main.yml") == specified


def test_every_option_is_described(role: str) -> None:
    for entry in _entries(role).values():
        assert entry["short_description"]
        assert entry["description"]
    assert [name for name, option in _nested(_all_options(role)) if not option.get("description")] == []
    assert [name for name, option in _nested(_all_options(role)) if "type" not in option] == []


def test_variables_are_named_after_the_role(role: str) -> None:
    assert [name for name in _load(role, "defaults/main.yml") if not name.startswith(f"{role}_")] == []
    assert [name for name in _load(role, "vars/main.yml") if not name.startswith(f"__{role}_")] == []


def test_every_variable_is_commented_and_in_the_readme(role: str) -> None:
    text = (_root(role) / "defaults" / "main.yml").read_text(encoding="utf-8")
    blocks = text.split("\n\n")
    assert [block for block in blocks[2:] if not block.startswith("#")] == []
    readme = (_root(role) / "README.md").read_text(encoding="utf-8")
    main = _entries(role)["main"]["options"]
    missing = [name for name, _option in _nested(main) if f"`{name.rsplit('.', 1)[-1]}`" not in readme]
    # What is inside of an option of a module is described there.
    assert [name for name in missing if name.count(".") < 2] == []


def test_ansible_doc_shows_the_role(role: str, tmp_path: Path) -> None:
    command = [*harness.program("ansible-doc"), "--json", "--type", "role", f"{harness.NAMESPACE}.{role}"]
    run = subprocess.run(command, env=harness.environment(tmp_path), check=True, capture_output=True, text=True)

    shown = json.loads(run.stdout)[f"{harness.NAMESPACE}.{role}"]["entry_points"]

    assert shown.keys() == _entries(role).keys()
    assert role not in run.stderr, "what is said is about the role"


def test_examples_pass_the_validation(role: str) -> None:
    examples = list(_examples(role))
    assert len(examples) >= 3
    # A default that is a template is a value when a role validates.
    options = _entries(role)["main"]["options"]
    options = {
        name: {**option, "default": None} if "{{" in str(option["default"]) else option
        for name, option in options.items()
    }

    for variables in examples:
        given = {name: value for name, value in variables.items() if name not in OF_PLAYBOOKS}
        # It writes into the defaults that it is given.
        validator = ArgumentSpecValidator(copy.deepcopy(options))
        assert validator.validate(given).error_messages == [], variables


def test_validation_finds_what_is_mistyped() -> None:
    options = _entries("sqlite_backup")["main"]["options"]
    validator = ArgumentSpecValidator(
        {name: options[name] for name in ("sqlite_backup_databases", "sqlite_backup_defaults")}
    )
    for wrong in ({"evry": "1h"}, {"keep_daily": "many"}, {"type": "fast"}, {"include": [{"source": "/a"}]}):
        given = {"sqlite_backup_databases": [{"name": "agent", "path": "/srv/agent.db", **wrong}]}
        assert validator.validate(given).error_messages != [], wrong
    assert validator.validate({"sqlite_backup_defaults": {"repository": "/a"}}).error_messages != []
    assert validator.validate({"sqlite_backup_defaults": {"tags": ["a"]}}).error_messages == []


def test_databases_take_the_keys_of_the_runner() -> None:
    options = _entries("sqlite_backup")["main"]["options"]
    databases = options["sqlite_backup_databases"]["options"]
    of_all = options["sqlite_backup_defaults"]["options"]

    assert databases.keys() == config.KEYS.keys() | set(backup_plans.ROLE_KEYS)
    assert of_all.keys() == config.KEYS.keys() - set(backup_plans.OWN_KEYS)
    _compare(databases, config.KEYS)
    _compare(of_all, config.KEYS)


def test_targets_take_the_keys_of_the_runner() -> None:
    options = _entries("sqlite_offsite")["main"]["options"]["sqlite_offsite_targets"]["options"]

    assert options.keys() == target_config.KEYS.keys() | set(offsite_targets.ROLE_KEYS)
    # A path to the runner; the role writes that file.
    assert options.pop("known_hosts")["type"] == "list"
    _compare(options, target_config.KEYS)
    assert {name for name, option in options.items() if option.get("required")} == {"name", "url"}


def test_those_who_are_told_take_the_keys_of_the_runner() -> None:
    options = _entries("sqlite_monitoring")["main"]["options"]["sqlite_monitoring_notify"]["options"]
    keys = watch_config.KEYS["notify"].keys

    assert options.keys() == keys.keys()
    _compare(options, keys, inside=True)


def test_every_boolean_is_read_as_one(role: str) -> None:
    """Validation takes a text for a boolean and leaves it one, and every text is true to `when`."""
    names = [name for name, option in _all_options(role).items() if option["type"] == "bool"]
    inside = [name for name, option in _nested(_all_options(role)) if option["type"] == "bool" and "." in name]
    # What is inside of a dictionary goes through the filter, whose tests have texts.
    of_targets = {"read_only", *_flags(target_config.KEYS), *_flags(watch_config.KEYS)}
    assert {each.rsplit(".", 1)[-1] for each in inside} <= {"first_backup", *_flags(config.KEYS), *of_targets}
    for path in sorted(_root(role).glob("*/*")):
        if path.parent.name in ("defaults", "meta") or path.suffix not in (".yml", ".j2"):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            for name in names:
                for match in re.finditer(rf"\b{name}\b(?! of|:)(.*)", line):
                    to_the_filter = line.strip() == f'{name.removeprefix(f"{role}_")}: "{{{{ {name} }}}}"'
                    told = line.lstrip().startswith(("#", "Correct that, or"))
                    assert match[1].startswith(" | bool") or to_the_filter or told, f"{path.name}: {line}"


def test_every_boolean_of_a_database_may_be_a_text() -> None:
    options = _entries("sqlite_backup")["main"]["options"]["sqlite_backup_databases"]["options"]
    needed = {"include": {"src": "/srv/.env"}}
    found = [name for name, option in _nested(options) if option["type"] == "bool"]
    assert {"first_backup", "allow_empty", "include.redact"} <= {*found}

    for name in found:
        outer, _dot, inner = name.partition(".")
        given = {outer: [{**needed[outer], inner: "no"}] if inner else "no"}
        (plan,) = backup_plans.backup_plans(
            [{"name": "agent", "path": "/srv/agent.db", **given}],
            host="ci-1",
            config_dir="/etc/sqlite-backup",
            repository_dir="/var/backups/sqlite",
            runner_path="/usr/local/bin/sqlite-backup",
        )
        value = {**plan["config"], **plan}[outer] if not inner else plan["config"][outer][0][inner]
        assert value is False, name


def _flags(keys: Mapping[str, strict.Key]) -> Iterator[str]:
    for name, key in keys.items():
        if key.type == "flag":
            yield name
        yield from _flags(key.keys)


def test_examples_can_be_carried_out() -> None:
    for variables in _examples("sqlite_backup"):
        scope = "user" if variables.get("sqlite_backup_profile") == "development" else "system"
        names = ("state", "profile", "scheduler", "every", "active_hours", "defaults")
        given = {name: variables[f"sqlite_backup_{name}"] for name in names if f"sqlite_backup_{name}" in variables}
        windows = "sqlite_backup_python" in variables
        plans = backup_plans.backup_plans(
            variables["sqlite_backup_databases"],
            host="ci-1",
            home="/home/dev" if scope == "user" else "",
            scope=scope,
            config_dir="C:\\config" if windows else "/etc/sqlite-backup",
            repository_dir="C:\\repositories" if windows else "/var/backups/sqlite",
            runner_path="C:\\sqlite-backup.pyz" if windows else "/usr/local/bin/sqlite-backup",
            windows=windows,
            python=variables.get("sqlite_backup_python", ""),
            **given,
        )
        assert len(plans) == len(variables["sqlite_backup_databases"])


def _compare(options: Options, keys: Mapping[str, strict.Key], *, inside: bool = False) -> None:
    """Types and choices are those of the runner, inside of options, too; its defaults are not repeated."""
    types = {"text": "str", "path": "path", "duration": "str", "number": "int", "flag": "bool", "anything": "raw"}
    types |= {"object": "dict", "mapping": "dict", "list": "list"}
    for name in options.keys() & keys.keys():
        option, key = options[name], keys[name]
        assert option["type"] == types[key.type], name
        assert tuple(option.get("choices", ())) == key.choices, name
        assert "default" not in option, name
        assert option.get("options", {}).keys() == key.keys.keys(), name
        if inside:
            assert option.get("required", False) == key.required, name
        _compare(option.get("options", {}), key.keys, inside=True)


def _examples(role: str) -> Iterator[dict[str, Any]]:
    """The variables of the role in every example of its README, of guides and of the playbook for it."""
    for path in [_root(role) / "README.md", *GUIDES.get(role, [])]:
        for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            yield from _variables(role, yaml.safe_load(block))
    for path in (harness.ROOT / "playbooks").glob("provision_*.yml"):
        if role not in path.read_text(encoding="utf-8"):
            continue
        comment = "\n".join(re.findall(r"^#   ( *[a-z-].*|  .*)$", path.read_text(encoding="utf-8"), re.MULTILINE))
        start = comment.index(f"{role}_scheduler")
        yield from _variables(role, yaml.safe_load(comment[start:]))


def _variables(role: str, content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, dict):
        # An example may be of the other role, that goes with it.
        if any(name.startswith(f"{role}_") for name in content):
            yield content
        return
    for play in content:
        for each in play.get("roles", []):
            assert each["role"] == f"{harness.NAMESPACE}.{role}"
            yield {**play.get("vars", {}), **each["vars"]}
        for task in play.get("tasks", []):
            assert task["ansible.builtin.include_role"]["name"] == f"{harness.NAMESPACE}.{role}"
            yield task["vars"]


def _root(role: str) -> Path:
    return harness.ROOT / "roles" / role


def _load(role: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((_root(role) / name).read_text(encoding="utf-8"))
    return content


def _entries(role: str) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = _load(role, "meta/argument_specs.yml")["argument_specs"]
    return entries


def _all_options(role: str) -> Options:
    return {name: option for entry in _entries(role).values() for name, option in entry["options"].items()}


def _nested(options: Options, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in options.items():
        yield f"{place}{name}", option
        yield from _nested(option.get("options", {}), f"{place}{name}.")
