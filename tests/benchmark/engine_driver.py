# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the engine once, as a host does it: in an archive with the engine, and with the rooms that the work needs.

    python3 engine_driver.py backup SOURCE REPOSITORY
    python3 engine_driver.py verify REPOSITORY
    python3 engine_driver.py restore REPOSITORY BACKUP DEST
    python3 engine_driver.py push REPOSITORY TARGET
    python3 engine_driver.py pull REPOSITORY TARGET
    python3 engine_driver.py drill REPOSITORY
    python3 engine_driver.py export SOURCE FILE
    python3 engine_driver.py import FILE DEST
    python3 engine_driver.py list REPOSITORY
    python3 engine_driver.py multiply REPOSITORY COUNT
    python3 engine_driver.py versions

TARGET is a file with the values of the option `target`, in JSON. The answer is one line of JSON. It runs on every
Python that a host may have.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "plugins" / "module_utils"))

from _engine.system.errors import EngineError

ZSTD_LEVEL = 3  # as the pipelines that it is compared with
_WAYS = {"identity_file": None, "passphrase_file": None, "timeout": "1h", "lock_timeout": "1m"}
FIRST_COPY = datetime(2020, 1, 1, tzinfo=timezone.utc)


def back_up(source: str, repository: str) -> dict[str, Any]:
    from _engine.work import backup

    request = backup.Request(
        path=Path(source),
        repository=Path(repository),
        type="auto",
        compression="zstd",
        compression_level=ZSTD_LEVEL,
    )
    outcome = backup.run(request)
    if outcome.error:
        raise outcome.error
    document = outcome.backup.trusted() if outcome.backup else None
    return {
        "changed": outcome.changed,
        "type": document.type if document else None,
        "durations": outcome.durations,
    }


def verify_latest(repository: str) -> dict[str, Any]:
    from _engine.repository.repository import Repository
    from _engine.work import verify

    opened = Repository.open_existing(Path(repository))
    result = verify.verify_backups(opened, "latest", verify.Expectations(level="full"))
    if result.error:
        raise result.error
    return {"outcome": result.outcome}


def restore_one(repository: str, wanted: str, dest: str) -> dict[str, Any]:
    from _engine.work import restore

    outcome = restore.run(restore.Request(repository=Path(repository), backup=wanted, dest=Path(dest)))
    return {"durations": outcome.durations}


def push_all(repository: str, target: str) -> dict[str, Any]:
    from _engine.targets import address
    from _engine.work import push

    there = address.requested(json.loads(Path(target).read_text(encoding="utf-8")))
    return push.run(push.Request(Path(repository), there)).to_json()


def pull_latest(repository: str, target: str) -> dict[str, Any]:
    from _engine.targets import address
    from _engine.work import pull

    there = address.requested(json.loads(Path(target).read_text(encoding="utf-8")))
    return pull.run(pull.Request(Path(repository), there)).to_json()


def drill_latest(repository: str) -> dict[str, Any]:
    from _engine.work import drill

    (done,) = drill.run(drill.Request(Path(repository)))
    if done.error:
        raise done.error
    return {"durations": done.durations}


def write_text(source: str, dest: str) -> dict[str, Any]:
    from _engine.work import export

    given: dict[str, Any] = {"repository": None, "backup": None, "dest": dest, "tables": [], "format": "jsonl"}
    given.update(compression="zstd", compression_level=ZSTD_LEVEL, encryption=None, force=False, **_WAYS)
    return export.run(export.requested(given, path=Path(source))).to_json()


def read_text(source: str, dest: str) -> dict[str, Any]:
    from _engine.work import load

    return load.run(
        load.requested({"src": source, "repository": None, "force": False, **_WAYS}, dest=Path(dest))
    ).to_json()


def list_all(repository: str) -> dict[str, Any]:
    from _engine.repository.repository import Repository
    from _engine.work import info

    described = info.describe_repository(Repository.open_existing(Path(repository)))
    return {"backups": len(described["backups"])}


def multiply(repository: str, count: str) -> dict[str, Any]:
    """Copy the one backup of a repository until there are `count`, each with a manifest of its own."""
    from _engine.repository import manifest
    from _engine.repository.repository import Repository
    from _engine.system import clock

    opened = Repository.open_existing(Path(repository))
    original = opened.backups()[0]
    document = original.trusted()
    for number in range(1, int(count)):
        moment = FIRST_COPY + timedelta(minutes=number)
        copy = dataclasses.replace(
            document,
            id=f"{clock.to_stamp(moment)}-{document.type}",
            sequence=document.sequence + number,
            started=clock.to_text(moment),
            finished=clock.to_text(moment),
        )
        shutil.copytree(original.path, original.path.with_name(copy.id))
        (original.path.with_name(copy.id) / manifest.MANIFEST_NAME).write_bytes(manifest.to_bytes(copy))
    return {"backups": int(count)}


def versions() -> dict[str, str]:
    from _engine.repository import manifest

    return manifest.versions()


COMMANDS: dict[str, Callable[..., Mapping[str, Any]]] = {
    "backup": back_up,
    "verify": verify_latest,
    "restore": restore_one,
    "push": push_all,
    "pull": pull_latest,
    "drill": drill_latest,
    "export": write_text,
    "import": read_text,
    "list": list_all,
    "multiply": multiply,
    "versions": versions,
}


def main() -> int:
    try:
        answer = COMMANDS[sys.argv[1]](*sys.argv[2:])
    except EngineError as error:
        print(error.message, file=sys.stderr)
        return error.code
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
