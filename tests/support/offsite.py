# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database with backups, and a target that they go to and come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets import address
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import pull, push
from support.servers import Server
from support.sites import Site


class Offsite:
    """``site`` and ``server``; the copy is in ``files``, and ``other`` is where a pull puts it."""

    def __init__(self, site: Site, server: Server) -> None:
        self.site = site
        self.server = server
        self.files = server.files
        self.other = site.directory / "other" / "repository"

    def push(self, *, dry_run: bool = False, backup: str = "all", **target: Any) -> push.Outcome:
        return push.run(self.push_request(backup=backup, **target), dry_run=dry_run)

    def push_request(self, *, backup: str = "all", **target: Any) -> push.Request:
        wanted = address.requested(self.server.options(**target))
        return push.Request(self.site.repository, wanted, backup=backup, lock_timeout_seconds=0)

    def pull(
        self, *, dry_run: bool = False, into: Path | None = None, backup: str = "all", name: str = "", **target: Any
    ) -> pull.Outcome:
        wanted = address.requested(self.server.options(**target))
        request = pull.Request(into or self.other, wanted, backup=backup, name=name, lock_timeout_seconds=0)
        return pull.run(request, dry_run=dry_run)

    def there(self) -> dict[str, bytes]:
        """Every file at the target."""
        return _contents(self.files)

    def here(self, repository: Path | None = None) -> dict[str, bytes]:
        """Every file of a backup in the repository, which is that of the site if not another one is named."""
        top = repository or self.site.repository
        return {name: content for name, content in _contents(top).items() if _is_sealed(name)}


def _contents(top: Path) -> dict[str, bytes]:
    return {each.relative_to(top).as_posix(): each.read_bytes() for each in top.rglob("*") if each.is_file()}


def _is_sealed(name: str) -> bool:
    """Whether it is a file of a backup, and nothing that was noted beside it."""
    return name[:8].isdigit() and not name.endswith(("/checks.json", "/pin.json"))
