# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write down each module that is run on a host: also those that `copy` and `template` run by themselves."""

from __future__ import annotations

DOCUMENTATION = """
name: executions
type: notification
short_description: Write down each module that is run on a host
description:
  - Adds a line with the host and the module to the file in E(EXECUTIONS_FILE) for each execution.
requirements: []
"""

import functools
import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase


def _counted(execute: Any) -> Any:
    @functools.wraps(execute)
    def counted(action: Any, module_name: str | None = None, *args: Any, **kwargs: Any) -> Any:
        host = (kwargs.get("task_vars") or {}).get("inventory_hostname", "?")
        line = f"{host} {module_name or action._task.action}\n"
        descriptor = os.open(os.environ["EXECUTIONS_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        return execute(action, module_name, *args, **kwargs)

    return counted


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "executions"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        # The workers are forked from this process.
        ActionBase._execute_module = _counted(ActionBase._execute_module)
