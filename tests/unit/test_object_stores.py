# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Object stores: the same push and pull with each of them, and what each is told beyond that."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    TargetUnreachableError,
    UsageError,
)
from support import servers
from support.offsite import Offsite
from support.servers import Server
from support.sites import Site

pytestmark = pytest.mark.thorough
STORES = {"azurite": servers.azurite, "gcs": servers.gcs, "moto, a mock": servers.moto, "rclone": servers.s3}


@pytest.fixture(params=STORES)
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    servers.use_rclone(monkeypatch)
    with STORES[request.param](tmp_path) as found:
        yield found


@pytest.fixture
def offsite(site: Site, server: Server) -> Offsite:
    site.stored()
    site.change()
    site.stored()
    return Offsite(site, server)


def test_repository_goes_and_comes_back(offsite: Offsite) -> None:
    planned = offsite.push(dry_run=True)
    outcome = offsite.push()
    assert outcome.transferred == planned.transferred
    assert [each["id"] for each in outcome.transferred] == offsite.site.ids()
    assert not offsite.push().changed
    offsite.site.change()
    new = offsite.site.stored().id
    assert [each["id"] for each in offsite.push().transferred] == [new]
    offsite.pull()
    assert offsite.here(offsite.other) == offsite.here()
