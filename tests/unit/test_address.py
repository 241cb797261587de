# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A target as its URL and its options describe it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets import address
from support import servers

SECRET = "a-secret-that-is-shown-to-nobody"


@pytest.mark.parametrize(
    "given",
    [
        {"url": f"ssh://backup:{SECRET}@host.example.org/srv"},
        {"url": f"https://backup:{SECRET}@host.example.org/srv"},
        {"url": "s3://bucket/host", "options": {"secret_access_key": SECRET}},
        {"url": "azblob://container/host", "options": {"account": "example", "sas_url": SECRET}},
    ],
)
def test_misplaced_secrets_are_found_and_not_told(given: dict[str, Any]) -> None:
    options = {**servers.defaults(), **given}
    assert address.misplaced(options) == {SECRET}
    with pytest.raises(UsageError) as raised:
        address.requested(options)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("url", ["s3://bucket/host", "ssh://backup@host.example.org/srv", "ssh://[::1", "ssh://:@h/x"])
def test_nothing_else_is_a_secret(url: str) -> None:
    options = {"region": "eu-central-1", "storage_class": "STANDARD_IA", "sse_kms_key_id": "arn:aws:kms:eu"}
    assert address.misplaced({**servers.defaults(), "url": url, "options": options}) == set()


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
