# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a backup stores what it includes, beside an application that does not stand still meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import StoredFile
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.reading import Storage


class Meddled(Storage):
    """Storage beside an application that does something each time when a piece of a file was read."""

    def __init__(self, directory: Path, meddle: Callable[[], object], *more: Any, **options: Any) -> None:
        super().__init__(directory, *more, **options)
        object.__setattr__(self, "meddle", meddle)

    def write(self, name: str, role: str, chunks: Iterable[bytes], *, compressed: bool = False) -> StoredFile:
        return super().write(name, role, self._meddled(chunks), compressed=compressed)

    def _meddled(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            self.meddle()  # type: ignore[attr-defined]
