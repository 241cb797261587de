# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand each task's result to the test as a line of JSON, and wait for the test before each included task file."""

from __future__ import annotations

DOCUMENTATION = """
name: recorder
type: notification
short_description: Tell a test what happened
description:
  - Writes one JSON line for each result to the descriptor in E(RECORDER_RESULTS).
  - With E(RECORDER_REQUESTS), says so when it comes to an include_tasks, and waits for a line from that descriptor.
requirements: []
"""

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

_INCLUDES = ("include_tasks", "ansible.builtin.include_tasks")


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "recorder"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._results = int(os.environ["RECORDER_RESULTS"])
        requests = os.environ.get("RECORDER_REQUESTS")
        self._requests = os.fdopen(int(requests), encoding="utf-8") if requests else None

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        if self._requests is not None and task.action in _INCLUDES:
            self._write({"waiting": True})
            if not self._requests.readline():
                raise SystemExit  # the test is done; Ansible cleans up behind itself

    def v2_runner_on_ok(self, result: Any) -> None:
        self._record("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002
        self._record("failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._record("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._record("unreachable", result)

    def _record(self, status: str, result: Any) -> None:
        # ansible-core 2.19 gave these public names and deprecates the others.
        task = getattr(result, "task", None) or result._task
        content = getattr(result, "result", None) or result._result
        if status == "ok" and task.action in _INCLUDES:
            return
        self._write({"task": task.get_name(), "status": status, "result": content})

    def _write(self, line: dict[str, Any]) -> None:
        data = json.dumps(line, default=str).encode() + b"\n"
        while data:
            data = data[os.write(self._results, data) :]
