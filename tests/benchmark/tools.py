# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools that are compared, each as its users run it: the commands, and nothing of how they are measured.

Every tool writes to a repository folder of its own on the same filesystem. A restore is on the disk when it ends: tools
that do not see to that themselves are followed by `sync FILE`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from live import AUTOCHECKPOINT_PAGES

DRIVER = Path(__file__).with_name("engine_driver.py")
ENGINE = Path(__file__).resolve().parents[2] / "plugins" / "module_utils" / "_engine"
# Where the packed engine is, for whoever runs it.
PACKED_ENGINE = "BENCHMARK_ENGINE"
SYSTEM_PYTHON = Path("/usr/bin/python3")
_VERSION_SECONDS = 30

Command = list[str]


@dataclass(frozen=True)
class Site:
    """Where a tool works: the live database, a folder of its own, and the environment of its processes."""

    source: Path
    folder: Path
    env: Mapping[str, str]


class Tool(ABC):
    """One tool with one repository. `about` tells readers of the table what they must know of its commands."""

    name = ""
    about = ""
    needs: tuple[str, ...] = ()
    writes_to_source = False
    autocheckpoint_pages = AUTOCHECKPOINT_PAGES

    def __init__(self, site: Site) -> None:
        self.site = site
        self.repository = site.folder / "repository"
        self.scratch = site.folder / "scratch"
        self._copy = site.folder / "copy.db"
        self._backups = 0

    def setting(self) -> dict[str, str]:
        """Further variables of its environment."""
        return {}

    def preparation(self) -> Command | None:
        """What makes an empty repository; it is not measured."""
        self.repository.mkdir()
        return None

    def backup(self) -> Command:
        """The command for the next backup, whatever has changed since the last one."""
        self._backups += 1
        return self._backup()

    @abstractmethod
    def _backup(self) -> Command:
        """The command itself."""

    @abstractmethod
    def verify(self) -> Command:
        """The deepest check of the newest backup that the tool offers; `scratch` is an empty folder then."""

    @abstractmethod
    def restore(self, dest: Path) -> Command:
        """Restore the newest backup as the new file `dest`, in an empty folder."""


class TextTool(Tool):
    """One that can write a database as text."""

    @property
    @abstractmethod
    def text(self) -> Path:
        """The file with it."""

    @abstractmethod
    def write_text(self) -> Command:
        """The command that writes it out of the live database."""

    @abstractmethod
    def read_text(self, dest: Path) -> Command:
        """The command that makes a database of it."""


def _script(text: str, *arguments: object) -> Command:
    """A shell script in which a failure anywhere in a pipeline fails all; the arguments are its $1, $2 and so on."""
    return ["bash", "-euo", "pipefail", "-c", text, "benchmark", *map(str, arguments)]


_CHECKED = '[ "$(sqlite3 "{file}" "PRAGMA {check}")" = ok ]'


class Ours(TextTool):
    name = "sqliteops.backup"
    about = (
        "the engine in one archive, as it comes to a host, in a new Python process that has to compile it;"
        " `zstd -3 -T0`, otherwise its defaults"
    )
    needs: tuple[str, ...] = ("zstd",)

    def _command(self, *arguments: object) -> Command:
        return engine_command(self.site.env, *arguments)

    def preparation(self) -> Command | None:
        return None  # a backup makes the repository

    def _backup(self) -> Command:
        return self._command("backup", self.site.source, self.repository)

    def verify(self) -> Command:
        return self._command("verify", self.repository)

    def restore(self, dest: Path) -> Command:
        return self._command("restore", self.repository, "latest", dest)

    @property
    def text(self) -> Path:
        return self.repository / "text.jsonl.zst"

    def write_text(self) -> Command:
        return self._command("export", self.site.source, self.text)

    def read_text(self, dest: Path) -> Command:
        return self._command("import", self.text, dest)

    def restore_first(self, dest: Path) -> Command:
        """Restore the oldest backup, a full one."""
        first = min(path.name for path in self.repository.iterdir() if path.name.endswith("-full"))
        return self._command("restore", self.repository, first, dest)


class Pipeline(Tool):
    name = ".backup + zstd"
    about = (
        "`sqlite3 X '.backup Y'`, `PRAGMA quick_check` of Y, `zstd -3 -T0 Y`; verify is `zstd -d` and"
        " `integrity_check`, restore is `zstd -d` and `sync`"
    )
    needs: tuple[str, ...] = ("sqlite3", "zstd")

    @property
    def _newest(self) -> Path:
        return self.repository / f"{self._backups}.zst"

    def _backup(self) -> Command:
        check = _CHECKED.format(file="$2", check="quick_check")
        text = f"""sqlite3 "$1" ".backup '$2'"; {check}; zstd -q -3 -T0 --rm "$2" -o "$3" """
        return _script(text, self.site.source, self._copy, self._newest)

    def verify(self) -> Command:
        check = _CHECKED.format(file="$2", check="integrity_check")
        return _script(f'zstd -q -d "$1" -o "$2"; {check}', self._newest, self.scratch / "restored.db")

    def restore(self, dest: Path) -> Command:
        return _script('zstd -q -d "$1" -o "$2"; sync "$2"', self._newest, dest)


class Dump(TextTool):
    name = ".dump + zstd"
    about = (
        "`sqlite3 X .dump | zstd -3`, the way of borgmatic; verify is `zstd -t`, which looks at the compressed file"
        " alone, restore is `zstd -d | sqlite3 Y` and `sync`"
    )
    needs = ("sqlite3", "zstd")

    @property
    def _newest(self) -> Path:
        return self.repository / f"{self._backups}.sql.zst"

    def _backup(self) -> Command:
        return _script('sqlite3 "$1" .dump | zstd -q -3 -o "$2"', self.site.source, self._newest)

    def verify(self) -> Command:
        return ["zstd", "-q", "-t", str(self._newest)]

    def restore(self, dest: Path) -> Command:
        return _script('zstd -q -d -c "$1" | sqlite3 "$2"; sync "$2"', self._newest, dest)

    @property
    def text(self) -> Path:
        return self._newest

    def write_text(self) -> Command:
        return self.backup()

    def read_text(self, dest: Path) -> Command:
        return self.restore(dest)


class Restic(Tool):
    name = "restic"
    about = (
        "`sqlite3 X '.backup Y'` first, as a live database needs it, then `restic backup Y`; always encrypted;"
        " verify is `restic check --read-data`, which looks at the repository and not into the database"
    )
    needs = ("sqlite3", "restic")

    def setting(self) -> dict[str, str]:
        return {
            "RESTIC_CACHE_DIR": str(self.site.folder / "cache"),
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_REPOSITORY": str(self.repository),
        }

    def preparation(self) -> Command | None:
        return ["restic", "--quiet", "init"]

    def _backup(self) -> Command:
        text = """sqlite3 "$1" ".backup '$2'"; restic --quiet backup "$2"; rm "$2" """
        return _script(text, self.site.source, self._copy)

    def verify(self) -> Command:
        return ["restic", "--quiet", "check", "--read-data"]

    def restore(self, dest: Path) -> Command:
        text = 'restic --quiet restore latest --target "$1"; mv "$1$2" "$3"; sync "$3"'
        return _script(text, dest.parent, self._copy, dest)


class Borg(Tool):
    name = "borg"
    about = (
        "`sqlite3 X '.backup Y'` first, as a live database needs it, then `borg create Y`; encryption off;"
        " verify is `borg check --verify-data`, which looks at the repository and not into the database"
    )
    needs = ("sqlite3", "borg")

    def setting(self) -> dict[str, str]:
        return {
            "BORG_BASE_DIR": str(self.site.folder / "base"),
            "BORG_REPO": str(self.repository),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }

    def preparation(self) -> Command | None:
        return ["borg", "init", "--encryption", "none"]

    def _backup(self) -> Command:
        text = """sqlite3 "$1" ".backup '$2'"; borg create "::$3" "$2"; rm "$2" """
        return _script(text, self.site.source, self._copy, self._backups)

    def verify(self) -> Command:
        return ["borg", "check", "--verify-data"]

    def restore(self, dest: Path) -> Command:
        text = 'cd "$1"; borg extract "::$2"; mv "$1$3" "$4"; sync "$4"'
        return _script(text, dest.parent, self._backups, self._copy, dest)


class Litestream(Tool):
    name = "Litestream"
    about = (
        "`litestream replicate -once` to a folder. It is made to run all the time and to ship each commit; so that its"
        " runs can be measured, it is started for each. It adds tables to the database, so it gets a copy of its own,"
        " whose application leaves checkpoints to it (`wal_autocheckpoint = 0`) as its manual advises. Its second copy"
        " of all that it ships, beside the database, is not counted as stored. Verify is `restore -integrity-check"
        " full`; restore is `restore`, which checks nothing by default, and `sync`"
    )
    needs = ("litestream",)
    writes_to_source = True
    autocheckpoint_pages = 0

    @property
    def _url(self) -> str:
        return f"file://{self.repository}"

    def _backup(self) -> Command:
        return ["litestream", "replicate", "-once", "-log-level", "error", str(self.site.source), self._url]

    def verify(self) -> Command:
        return ["litestream", "restore", "-integrity-check", "full", "-o", str(self.scratch / "restored.db"), self._url]

    def restore(self, dest: Path) -> Command:
        return _script('litestream restore -o "$1" "$2"; sync "$1"', dest, self._url)


PEERS: tuple[type[Tool], ...] = (Pipeline, Dump, Restic, Borg, Litestream)
TOOLS: tuple[type[Tool], ...] = (Ours, *PEERS)
SHORT_NAMES = {each.__name__.lower(): each for each in TOOLS}


def missing_programs(tool: type[Tool]) -> list[str]:
    return [program for program in tool.needs if shutil.which(program) is None]


def pack_engine(dest: Path) -> None:
    """Make one archive of the engine and its driver, which Python can run."""
    with zipfile.ZipFile(dest, "w") as archive:
        archive.write(DRIVER, "__main__.py")
        for path in ENGINE.rglob("*.py"):
            archive.write(path, path.relative_to(ENGINE.parent))


def engine_command(env: Mapping[str, str], *arguments: object) -> Command:
    return [host_python(), env[PACKED_ENGINE], *map(str, arguments)]


def host_python() -> str:
    """The Python that Ansible would find on this host, not that of the project's own environment."""
    return str(SYSTEM_PYTHON) if SYSTEM_PYTHON.exists() else sys.executable


def versions(tools: Sequence[type[Tool]], env: Mapping[str, str]) -> dict[str, str]:
    """The versions of all programs that the tools need, and that are installed."""
    needed = {program for tool in tools for program in tool.needs}
    questions = {
        "sqlite3": ["sqlite3", "--version"],
        "zstd": ["zstd", "--version"],
        "restic": ["restic", "version"],
        "borg": ["borg", "--version"],
        "litestream": ["litestream", "version"],
        "rclone": ["rclone", "version"],
        "aws": ["aws", "--version"],
    }
    installed = {name: command for name, command in questions.items() if name in needed and shutil.which(name)}
    return {name: _version(command, env) for name, command in installed.items()}


def _version(command: Command, env: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            command, env=dict(env), capture_output=True, text=True, check=False, timeout=_VERSION_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return found[0] if found else "unknown"
