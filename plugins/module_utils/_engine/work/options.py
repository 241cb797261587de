# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From option values, as Ansible and the runner's configuration have them, to what the use cases ask for.

Each use case is imported where it is built: a module must not load those that it does not use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..repository import include
from ..repository.include import Include
from ..sealed.encryption import NOT_ENCRYPTED, Encryption, Keys
from ..sqlite import urls
from ..system import clock
from ..system.errors import EngineError, ProgramMissingError, UsageError
from ..watch import schedule
from ..watch.schedule import Schedule

if TYPE_CHECKING:
    from . import backup, doctor, pinning, prune, restore, verify

Options = Mapping[str, Any]
"""Values by the names of the modules' options; None is an option that was not given and has no default."""


def backup_request(given: Options) -> backup.Request:
    from . import backup

    return backup.Request(
        path=database_path(given, must_exist=True),
        repository=Path(given["repository"]),
        name=given["name"] or "",
        type=given["type"],
        full_every_seconds=seconds(given, "full_every") or 0.0,
        max_chain=_count(given, "max_chain"),
        compression=given["compression"],
        compression_level=given["compression_level"],
        encryption=encryption(given["encryption"]),
        check=given["check"],
        include=tuple(Include(Path(each["src"]), each["name"] or "", each["redact"]) for each in given["include"]),
        reason=given["reason"],
        tags=tuple(given["tags"]),
        pinned=given["pinned"],
        timeout_seconds=seconds(given, "timeout"),
        lock_timeout_seconds=seconds(given, "lock_timeout") or 0.0,
        force=given["force"],
        allow_empty=given["allow_empty"],
        force_identity=given["force_identity"],
    )


def prune_request(given: Options) -> prune.Request:
    from ..repository.retention import Policy
    from . import prune

    counts = ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
    return prune.Request(
        repository=Path(given["repository"]),
        policy=Policy(
            **{name: given[name] for name in counts},
            keep_within_seconds=seconds(given, "keep_within") or 0.0,
            timezone=given["timezone"],
            keep_suspect_seconds=seconds(given, "keep_suspect") or 0.0,
        ),
        lock_timeout_seconds=seconds(given, "lock_timeout") or 0.0,
    )


def pin_request(given: Options) -> pinning.Request:
    from . import pinning

    return pinning.Request(
        repository=Path(given["repository"]),
        backup=given["backup"],
        pinned=given["state"] == "present",
        until=clock.from_operator(given["until"]) if given["until"] else None,
        lock_timeout_seconds=seconds(given, "lock_timeout") or 0.0,
    )


def mistakes(given: Options) -> Iterator[tuple[str, EngineError]]:
    """Keys of a configured database with which every run fails, whatever the host, each with why.

    No file is looked at, and what only this host lacks is no mistake: a run may be meant for another one.
    """
    from ..repository import retention
    from ..sealed import codec

    policy = prune_request(given).policy
    checks: dict[str, Callable[[], object]] = {
        "compression_level": lambda: codec.check_wanted_level(given["compression"], given["compression_level"]),
        "encryption": lambda: encryption(given["encryption"]).check_options("Cannot encrypt"),
        "include": lambda: [include.checked_name(each["name"] or Path(each["src"]).name) for each in given["include"]],
        "keep_*": lambda: retention.check_rules(policy),
        "timezone": lambda: clock.zone(policy.timezone),
        "due": lambda: due(given),
    }
    for key, check in checks.items():
        try:
            check()
        except ProgramMissingError:
            continue
        except EngineError as error:
            yield key, error


def restore_request(given: Options) -> restore.Request:
    from . import restore

    return restore.Request(
        repository=_path(given, "repository"),
        backup=given["backup"],
        before=clock.from_operator(given["before"]) if given["before"] else None,
        dest=_path(given, "dest"),
        owner=given["owner"] or "",
        group=given["group"] or "",
        mode=_mode(given),
        check=given["check"],
        force=given["force"],
        force_identity=given["force_identity"],
        keys=keys(given),
        lock_timeout_seconds=seconds(given, "lock_timeout") or 0.0,
    )


def expectations(given: Options) -> verify.Expectations:
    from . import verify

    return verify.Expectations(given["level"], given["expect_tables"], given["assertions"])


def doctor_request(given: Options, *, configuration: Path | None = None) -> doctor.Request:
    """``configuration`` is the file that the options come from."""
    from . import doctor

    return doctor.Request(
        path=database_path(given, must_exist=True),
        repository=Path(given["repository"]),
        configuration=configuration,
        compression=given["compression"],
        encryption=encryption(given["encryption"]),
        keys=keys(given),
    )


def due(given: Options) -> Schedule | None:
    """When a run of this database is due; None when nobody says."""
    told = given["due"]
    return None if told is None else schedule.parse(told["minute"], told["hour"], seconds(told, "grace") or 0.0)


def database_path(given: Options, *, must_exist: bool = False) -> Path:
    """The database that ``path`` names, or else ``database_url``; raises when that URL may mean another one."""
    path = _path(given, "path")
    return path or urls.found(given["database_url"], chdir=_path(given, "chdir"), must_exist=must_exist)


def encryption(given: Options | None) -> Encryption:
    if given is None:
        return NOT_ENCRYPTED
    return Encryption(given["method"], tuple(given["recipients"]), _path(given, "passphrase_file"))


def keys(given: Options) -> Keys:
    return Keys(_path(given, "identity_file"), _path(given, "passphrase_file"))


def seconds(given: Options, option: str) -> float | None:
    """The value of a duration in seconds; None when it is not given."""
    text = given[option]
    return None if text is None else clock.parse_duration(text)


def _count(given: Options, option: str) -> int:
    count: int = given[option]
    if count < 0:
        raise UsageError(f"Cannot use {option} {count!r:.20}: it is negative.", hint="Use 0 or more.")
    return count


def _mode(given: Options) -> str:
    mode: str = given["mode"] or ""
    if mode and not re.fullmatch("[0-7]{1,4}", mode):
        raise UsageError(f"Cannot use the mode {mode!r:.20}.", hint="Write it in octal and in quotes, as '0600'.")
    return mode


def _path(given: Options, option: str) -> Path | None:
    return Path(given[option]) if given[option] else None
