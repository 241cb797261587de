# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Share what Ansible packs for a host, a module with all that it imports, between the runs of one test process."""

from __future__ import annotations

DOCUMENTATION = """
name: payloads
type: notification
short_description: Share the packed modules between runs
description:
  - Ansible packs each module once a run, which takes as long as the module itself.
  - Here it is once for all runs with the same directory in E(PAYLOADS_DIRECTORY).
requirements: []
"""

import os

from ansible import constants
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "payloads"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        os.symlink(os.environ["PAYLOADS_DIRECTORY"], os.path.join(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache"))
