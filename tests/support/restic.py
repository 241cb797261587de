# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real restic, asked which snapshots its `forget` would keep."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

_AT_ONCE = os.cpu_count() or 1
_PASSWORD = "test"
# restic derives its key anew for each command, by default in half a second: these are what its own tests take.
_CHEAP = {"N": 128, "r": 1, "p": 1}
_NONCE_BYTES = _MAC_BYTES = 16


@dataclass(frozen=True)
class Snapshot:
    """What to make: when, in the local time of ``zone``, and what to select and group it by."""

    local: datetime
    zone: str
    host: str
    path: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Forget:
    """One dry run: the counts by their flag (``last``, ``hourly``, …), of which snapshots, grouped by what.

    The count of ``within`` is in seconds of whole hours: a day of restic is one of the calendar, a minute it has not.
    """

    keep: Mapping[str, int]
    tag: str
    group_by: str


@dataclass(frozen=True)
class Group:
    """What restic would keep and remove of one history."""

    kept: frozenset[datetime]
    removed: frozenset[datetime]


class Restic:
    """A new restic repository in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._call("init")
        # It comes with ansible-core; without it all takes longer.
        with contextlib.suppress(ImportError):
            self._make_key_cheap()

    def _make_key_cheap(self) -> None:
        """Encrypt the key of the repository as restic does, with a key that is derived at once."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        from cryptography.hazmat.primitives.poly1305 import Poly1305

        def crypt(costs: Mapping[str, int], nonce: bytes, data: bytes) -> tuple[bytes, bytes]:
            """The bytes to or from their ciphertext, and the key of its authentication."""
            derived = hashlib.scrypt(
                _PASSWORD.encode(),
                salt=base64.b64decode(key["salt"]),
                n=costs["N"],
                r=costs["r"],
                p=costs["p"],
                maxmem=1 << 28,
                dklen=64,
            )
            secret, one_time, fixed = derived[:32], derived[32:48], derived[48:]
            once = Cipher(algorithms.AES(one_time), modes.ECB()).encryptor().update(nonce)  # noqa: S305 - one block, as restic has it
            return Cipher(algorithms.AES(secret), modes.CTR(nonce)).encryptor().update(data), fixed + once

        (path,) = (self._directory / "repository" / "keys").iterdir()
        key = json.loads(path.read_bytes())
        sealed = base64.b64decode(key["data"])
        nonce = sealed[:_NONCE_BYTES]
        master, _mac_key = crypt(key, nonce, sealed[_NONCE_BYTES:-_MAC_BYTES])
        ciphertext, mac_key = crypt(_CHEAP, nonce, master)
        data = nonce + ciphertext + Poly1305.generate_tag(mac_key, ciphertext)
        content = json.dumps({**key, **_CHEAP, "data": base64.b64encode(data).decode()}).encode()
        path.unlink()
        path.with_name(hashlib.sha256(content).hexdigest()).write_bytes(content)

    def version(self) -> tuple[int, ...]:
        found = re.match(r"restic (\d+)\.(\d+)", self._call("version"))
        assert found
        return tuple(map(int, found.groups()))

    def add(self, snapshots: Sequence[Snapshot]) -> None:
        for path in {each.path for each in snapshots}:
            (self._directory / path).write_text(path)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._add, snapshots))

    def _add(self, snapshot: Snapshot) -> None:
        tags = [word for tag in snapshot.tags for word in ("--tag", tag)]
        time = snapshot.local.strftime("%Y-%m-%d %H:%M:%S")
        self._call("backup", "--host", snapshot.host, *tags, "--time", time, snapshot.path, zone=snapshot.zone)

    def forget(self, questions: Sequence[Forget]) -> list[list[Group]]:
        """The answer to each question, a group for each history."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self._forget, questions))

    def _forget(self, question: Forget) -> list[Group]:
        told = {
            flag: f"{count // 3600}h" if flag == "within" else count for flag, count in question.keep.items() if count
        }
        counts = [f"--keep-{flag}={count}" for flag, count in told.items()]
        which = ["--tag", question.tag, "--group-by", question.group_by]
        answer = self._call("forget", "--no-lock", "--dry-run", "--json", *which, *counts)
        return [Group(_times(each["keep"]), _times(each["remove"])) for each in json.loads(answer)]

    def _call(self, *words: str, zone: str = "UTC") -> str:
        env = {
            "HOME": str(self._directory),
            "PATH": os.environ["PATH"],
            "RESTIC_PASSWORD": _PASSWORD,
            "RESTIC_REPOSITORY": str(self._directory / "repository"),
            "TZ": zone,
        }
        command = ["restic", "--quiet", "--no-cache", *words]
        done = subprocess.run(
            command, cwd=self._directory, env=env, check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def _times(snapshots: Sequence[Mapping[str, Any]] | None) -> frozenset[datetime]:
    return frozenset(datetime.fromisoformat(each["time"].replace("Z", "+00:00")) for each in snapshots or ())
