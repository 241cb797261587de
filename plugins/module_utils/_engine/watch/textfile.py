# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics for node_exporter: a file a database in its textfile directory, which may be open to others.

https://github.com/prometheus/node_exporter#textfile-collector: it reads every file there whose name ends in .prom.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from ..system import files, places
from ..system.errors import UsageError, doing
from . import metrics

_ENDING = ".prom"


def write(directory: Path, observation: metrics.Observation, configured: Collection[str]) -> None:
    """Write the metrics of one database, and remove those of databases of this user that are configured no more.

    A reader never sees half a file. Raises ``EngineError``.
    """
    user, name = str(observation["user"]), str(observation["name"])
    data = metrics.text(metrics.families(observation)).encode()
    with doing("Cannot write metrics"):
        if not directory.is_dir():
            raise UsageError(
                f"{directory} is not a directory.",
                hint="Create it, and name it to node_exporter in --collector.textfile.directory; or correct "
                "textfile_directory.",
            )
        files.replace_public(directory / file_name(user, name), data)
        for each in _databases(directory, user):
            if each not in (name, *configured):
                remove(directory, user, each)


def remove(directory: Path, user: str, name: str) -> None:
    """Remove the metrics of a database; none is fine."""
    files.remove_file(directory / file_name(user, name))


def file_name(user: str, name: str) -> str:
    """Users of the same host may use the same names."""
    return f"{_prefix(user)}{name}{_ENDING}"


def _prefix(user: str) -> str:
    # A user of a directory service may have any name.
    plain = re.sub(r"[^\w.@-]", lambda found: f"%{ord(found[0]):02x}", user, flags=re.ASCII)
    return f"sqlite_backup.{plain}."


def _databases(directory: Path, user: str) -> list[str]:
    """The databases of ``user`` that have a file here; a name of a user may have dots, that of a database has none."""
    name = re.compile(rf"{re.escape(_prefix(user))}([^.]+){re.escape(_ENDING)}")
    return [found[1] for found in map(name.fullmatch, places.names(directory)) if found]
