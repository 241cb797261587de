# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of this collection share: their common options, and how an error of the engine becomes a failure.

This file and the modules can be loaded by each Python that ansible-core still runs on, the engine only by 3.9 or newer.
"""

from __future__ import annotations

import platform
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

# Whether the engine can be loaded. Whoever needs it imports it only then, and main comes as far as execute.
IS_NEW_ENOUGH = sys.version_info >= (3, 9)

if IS_NEW_ENOUGH:
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import library
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import options
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError, explained

_ANOTHER_PYTHON = "Name another Python of this host in ansible_python_interpreter"
LOCK_TIMEOUT: dict[str, Any] = {"type": "str", "default": "1m"}
# The names of files are not secrets, whatever Ansible makes of the words in them.
KEYS: dict[str, Any] = {
    "identity_file": {"type": "path"},
    "passphrase_file": {"type": "path", "no_log": False},
}
STORED: dict[str, Any] = {
    "compression": {"type": "str", "choices": ["auto", "zstd", "gzip", "xz", "none"], "default": "auto"},
    "compression_level": {"type": "int"},
    "encryption": {
        "type": "dict",
        "options": {
            "method": {"type": "str", "choices": ["none", "age", "gpg"], "default": "none"},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "passphrase_file": {"type": "path", "no_log": False},
        },
    },
}
EXPECTATIONS: dict[str, Any] = {
    "expect_tables": {"type": "list", "elements": "str", "default": []},
    "assertions": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"sql": {"type": "str", "required": True}, "equals": {"type": "raw", "required": True}},
    },
}
INCLUDE: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "src": {"type": "path"},
        "name": {"type": "str"},
        "redact": {"type": "bool"},
        "kind": {"type": "str", "choices": ["file", "prisma_schema", "metrics", "logs"], "default": "file"},
        "url": {"type": "str"},
        "required": {"type": "bool"},
        "limit_mib": {"type": "int"},
        "timeout": {"type": "str", "default": "10s"},
    },
}
TARGET: dict[str, Any] = {
    "type": "dict",
    "required": True,
    "options": {
        "url": {"type": "str", "required": True},
        "credentials_file": {"type": "path", "no_log": False},
        "known_hosts": {"type": "path"},
        "options": {"type": "dict", "default": {}},
        "bandwidth": {"type": "str"},
        "retries": {"type": "int", "default": 3},
        "timeout": {"type": "str", "default": "6h"},
        "require_encryption": {"type": "bool", "default": False},
    },
}


def execute(
    module: AnsibleModule, work: Callable[[AnsibleModule], dict[str, Any]], *, needs_sqlite: bool = True
) -> NoReturn:
    """Run ``work`` and answer with what it returns, or with one clear failure."""
    if not IS_NEW_ENOUGH:
        _fail_as_too_old(module)
    if needs_sqlite and library.is_missing():
        lack = library.lack()
        lack.hint = f"{lack.hint} {_ANOTHER_PYTHON}."
        fail(module, lack)
    failure, details, result = EngineError(""), {}, {}
    try:
        check_given(module.params, module.argument_spec)
        result = work(module)
    except Exception as error:  # noqa: BLE001 - a traceback instead of an answer helps nobody
        failure = explained(error)
        if not isinstance(error, (EngineError, OSError)):
            details["exception"] = traceback.format_exc()
    else:
        module.exit_json(**result)
    # Behind the handlers: inside, fail_json of ansible-core 2.18 adds a traceback to what explains itself.
    fail(module, failure, **details)


def check_given(given: Mapping[str, Any], spec: Mapping[str, Any], above: str = "") -> None:
    """Raise ``UsageError`` for a text that is given and empty, unless that is its default.

    To take what a template made of a variable that is not set for an option that is not given would be a guess: an
    empty ``dest`` of a restore would mean the live database.
    """
    for name, wanted in spec.items():
        value, told = given.get(name), f"{above}{name}"
        parts = value if isinstance(value, list) else [value]
        if wanted.get("default") != "" and wanted.get("elements", wanted["type"]) in ("str", "path") and "" in parts:
            raise options.empty(told)
        for each in parts if "options" in wanted else ():
            check_given(each or {}, wanted["options"], f"{told}.")


def _fail_as_too_old(module: AnsibleModule) -> NoReturn:
    """As ``fail`` does, without the engine."""
    message = f"Cannot run: this Python {platform.python_version()} ({sys.executable}) is too old."
    hint = f"{_ANOTHER_PYTHON}, 3.9 or newer."
    module.fail_json(msg=f"{message} {hint}", error={"code": 19, "class": "ProgramMissingError", "hint": hint})


def fail(module: AnsibleModule, error: EngineError, **facts: Any) -> NoReturn:
    """Fail with the message of ``error``, and its code and hint for programs."""
    module.fail_json(msg=str(error), error=error.to_json(), **facts)


def warn_all(module: AnsibleModule, warnings: list[str]) -> None:
    for warning in filter(None, warnings):
        module.warn(warning)


def copied(module: AnsibleModule, outcome: Any, where: str) -> dict[str, Any]:
    """What a push or a pull answers; ``where`` its backups are now, ``outcome`` is that of either."""
    warn_all(module, outcome.warnings)
    after = sorted({*outcome.before, *(each["id"] for each in outcome.transferred)})
    diff = {
        "before_header": where,
        "after_header": where,
        "before": {"backups": outcome.before},
        "after": {"backups": after},
    }
    return {"changed": outcome.changed, **outcome.to_json(), "diff": diff}
