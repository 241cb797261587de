# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the configuration of a database whatever the host: with it every run would fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..repository import include, retention
from ..sealed import codec, encryption
from ..system import clock
from ..system.errors import EngineError, ProgramMissingError, doing
from ..system.options import Options
from ..watch import schedule
from ..work import prune


def find(given: Options) -> Iterator[tuple[str, EngineError]]:
    """The keys that are wrong, each with why.

    No file is looked at, and what only this host lacks is not a mistake: a run may be meant for another one.
    """
    policy = prune.requested(given).policy
    checks: dict[str, Callable[[], object]] = {
        "compression_level": lambda: codec.check_wanted_level(given["compression"], given["compression_level"]),
        "encryption": doing("Cannot encrypt")(lambda: encryption.requested(given["encryption"]).check_options()),
        "include": lambda: [include.checked_name(each["name"] or Path(each["src"]).name) for each in given["include"]],
        "keep_*": lambda: retention.check_rules(policy),
        "timezone": lambda: clock.zone(policy.timezone),
        "due": lambda: schedule.requested(given),
    }
    for key, check in checks.items():
        try:
            check()
        except ProgramMissingError:
            continue
        except EngineError as error:
            yield key, error
