# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of this collection share: their common options, and how an error of the engine becomes a failure."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sqliteops.backup.plugins.module_utils._engine import answers, options
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.encryption import Keys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.errors import EngineError, explained

LOCK_TIMEOUT: dict[str, Any] = {"type": "str", "default": "1m"}
# The names of files are no secrets, whatever Ansible makes of the words in them.
KEYS: dict[str, Any] = {
    "identity_file": {"type": "path"},
    "passphrase_file": {"type": "path", "no_log": False},
}


def execute(module: AnsibleModule, work: Callable[[AnsibleModule], dict[str, Any]]) -> NoReturn:
    """Run ``work`` and answer with what it returns, or with one clear failure."""
    failure, details, result = EngineError(""), {}, {}
    try:
        result = work(module)
    except Exception as error:  # noqa: BLE001 - a traceback instead of an answer helps nobody
        failure = explained(error)
        if not isinstance(error, (EngineError, OSError)):
            details["exception"] = traceback.format_exc()
    else:
        module.exit_json(**result)
    # Behind the handlers: inside, fail_json of ansible-core 2.18 adds a traceback to what explains itself.
    fail(module, failure, **details)


def fail(module: AnsibleModule, error: EngineError, **facts: Any) -> NoReturn:
    """Fail with the message of ``error``, and its code and hint for programs."""
    module.fail_json(msg=str(error), error=answers.error(error), **facts)


def keys(module: AnsibleModule) -> Keys:
    """How to decrypt, from the options in ``KEYS``."""
    given = options.keys(module.params)
    warn_all(module, [given.warning()])
    return given


def warn_all(module: AnsibleModule, warnings: list[str]) -> None:
    for warning in filter(None, warnings):
        module.warn(warning)
