# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a target is, as its URL says."""

from __future__ import annotations

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets import address
from support import servers


def requested(url: str) -> address.Address:
    return address.requested({**servers.defaults(), "url": url})


def test_a_receiver_may_have_put_the_top_somewhere_else() -> None:
    """As rrsync does for the key of a host: there is nothing to say behind the slash."""
    top = requested("ssh://sqlite-backup@nas:2222/")

    assert (top.user, top.host, top.port, top.path) == ("sqlite-backup", "nas", 2222, "")
    assert top.url == "ssh://sqlite-backup@nas:2222/"
    assert top.below("agent").url == "ssh://sqlite-backup@nas:2222/agent"


def test_a_url_that_names_no_place_on_the_host_is_refused() -> None:
    with pytest.raises(UsageError, match="no host and path"):
        requested("ssh://sqlite-backup@nas")
