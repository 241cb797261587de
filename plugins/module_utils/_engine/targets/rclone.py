# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets that rclone reaches: S3, Google Cloud Storage, Azure Blob, and any remote of an rclone.conf.

Its configuration goes in by the environment, which nobody but this user and root can read, never on a command line.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..sealed import keyfiles
from ..sealed.pipeline import ProgramFailedError
from ..system.errors import EngineError, RefusedError, TargetUnreachableError, UsageError
from .address import Address
from .programs import Hear
from .transport import REFUSALS, Comparison, NoDirectoryError, Told, Transport

_REMOTE = "target"
_TYPES = {"s3": "s3", "gs": "google cloud storage", "azblob": "azureblob"}
_DEFAULTS = {
    # It need not be allowed to make buckets.
    "s3": {"provider": "AWS", "no_check_bucket": "true"},
    "gs": {"bucket_policy_only": "true", "no_check_bucket": "true"},
    "azblob": {"no_check_container": "true"},
}
_SETTING = re.compile(r"([a-z][a-z0-9_]*)\s*=\s*(\S.*)")
_COMMON = (
    *("--retries", "1", "--low-level-retries", "3", "--contimeout", "15s", "--timeout", "1m"),
    *("--use-json-log", "--stats", "1s", "--stats-log-level", "NOTICE", "--log-level", "NOTICE"),
)
# https://rclone.org/docs/#exit-code
_NO_DIRECTORY, _USAGE, _DIFFERENT = 3, 2, 1
# Of --combined: https://rclone.org/commands/rclone_check/
_SAME, _MISSING, _OTHER = "=", "+", "*"


class Rclone(Transport):
    """Whatever rclone knows. It compares a copy with its source itself, by digest where the target has one."""

    def __init__(self, address: Address) -> None:
        environment, secrets = _configuration(address)
        super().__init__(address, environment, secrets)
        if address.scheme == "rclone":
            self._place, config = f"{address.place}:{address.path}", []
        else:
            # Without a file; what somebody configured for interactive use must not matter.
            self._place, config = f"{_REMOTE}:{address.place}/{address.path}".rstrip("/"), ["--config="]
        limit = [] if address.bandwidth_kib is None else ["--bwlimit", f"{address.bandwidth_kib}K"]
        self._words = ["rclone", *config, *_COMMON, *limit]
        self._listed: dict[str, int] | None = None

    def names(self) -> dict[str, int]:
        if self._listed is None:
            options = ["--recursive", "--files-only", "--no-modtime", "--no-mimetype", "--fast-list"]
            try:
                output = self._run([*self._words, "lsjson", *options, self._place])
            except NoDirectoryError:
                output = b"[]"
            self._listed = dict(map(_entry, _parsed(output)))
        return self._listed

    def compare(self, top: Path, names: Sequence[str], *, digests: bool = False) -> Comparison:
        if digests:
            return self._compare_digests(top, names)
        listed = self.names()
        missing = [each for each in names if each not in listed]
        sizes = {each: os.lstat(top / each).st_size for each in names if each in listed}
        different = [each for each, size in sizes.items() if size != listed[each]]
        shorter = [each for each in different if listed[each] < sizes[each]]
        return Comparison(frozenset(missing), frozenset(different), frozenset(shorter))

    def _compare_digests(self, top: Path, names: Sequence[str]) -> Comparison:
        options = ["--files-from-raw", "-", "--one-way", "--combined", "-"]
        words = [*self._words, "check", str(top), self._place, *options]
        output = self._run(words, names, separator="\n", fine=(0, _DIFFERENT))
        lines = output.decode("utf-8", "surrogateescape").split("\n")
        found = {line[2:]: line[0] for line in lines if line[1:2] == " "}
        unknown = [each for each in names if found.get(each) not in (_SAME, _MISSING, _OTHER)]
        if unknown:
            raise TargetUnreachableError(f"rclone could not compare {unknown[0]}.", hint="The next run tries again.")
        return Comparison(
            frozenset(each for each in names if found[each] == _MISSING),
            frozenset(each for each in names if found[each] == _OTHER),
        )

    def put(self, top: Path, names: Sequence[str], tell: Told) -> None:
        self._listed = None
        words = [*self._words, "copy", str(top), self._place, "--files-from-raw", "-", "--ignore-existing"]
        self._run(words, names, separator="\n", tell=tell)

    def get(self, names: Sequence[str], into: Path, watch: Callable[[], None]) -> None:
        words = [*self._words, "copy", self._place, str(into), "--files-from-raw", "-"]
        self._run(words, names, separator="\n", watch=watch)

    def remove(self, names: Sequence[str]) -> None:
        self._listed = None
        self._run([*self._words, "delete", self._place, "--files-from-raw", "-"], names, separator="\n")
        if self.address.scheme == "rclone":
            # An object store has no directories that could be left.
            self._run([*self._words, "rmdirs", self._place, "--leave-root"])

    def _may_pass(self, error: ProgramFailedError) -> bool:
        return error.exit_code not in (_NO_DIRECTORY, _USAGE) and not re.search(REFUSALS, error.said)

    def _explained(self, error: ProgramFailedError) -> EngineError:
        error.said = "\n".join(filter(None, (_message(line) for line in error.said.splitlines())))
        return super()._explained(error)

    def _hear(self, tell: Told) -> Hear:
        def hear(line: bytes) -> None:
            found = re.search(rb'"stats":\{.*?"bytes":(\d+)', line)
            if found:
                tell(int(found[1]))

        return hear


def _message(line: str) -> str:
    """What a line of rclone's log says; nothing for progress."""
    try:
        entry = json.loads(line)
        return "" if "stats" in entry else str(entry["msg"])
    except (ValueError, KeyError, TypeError):
        return "" if line.startswith("{") else line


def _parsed(output: bytes) -> list[Any]:
    try:
        found = json.loads(output)
    except (ValueError, RecursionError) as error:
        raise TargetUnreachableError(f"what rclone lists cannot be read: {error}.") from None
    return found if isinstance(found, list) else []


def _entry(listed: Any) -> tuple[str, int]:
    try:
        return str(listed["Path"]), int(listed["Size"])
    except (KeyError, TypeError, ValueError):
        raise RefusedError(f"what rclone lists cannot be read: {listed!r:.100}.") from None


def _configuration(address: Address) -> tuple[dict[str, str], list[str]]:
    """The environment that configures rclone, and what in it is secret."""
    file = address.credentials_file
    if file is not None:
        keyfiles.check_private(file, "credentials_file")
    if address.scheme == "rclone":
        overrides = {
            f"RCLONE_CONFIG_{address.place.upper()}_{name.upper()}": text for name, text in address.options.items()
        }
        return {"RCLONE_CONFIG": str(file), **overrides}, []
    settings = {"type": _TYPES[address.scheme], **_DEFAULTS[address.scheme], **address.options}
    if "endpoint" in address.options and "provider" not in address.options and address.scheme == "s3":
        settings["provider"] = "Other"
    secrets: dict[str, str] = {}
    if file is None:
        settings.setdefault("env_auth", "true")
    elif address.scheme == "gs":
        keyfiles.content(file, "credentials_file")
        settings["service_account_file"] = str(file)
    else:
        secrets = _credentials(file)
    settings.update(secrets)
    hidden = [text for text in secrets.values() if len(text) >= 8]
    return {f"RCLONE_CONFIG_{_REMOTE.upper()}_{name.upper()}": text for name, text in settings.items()}, hidden


def _credentials(file: Path) -> dict[str, str]:
    """Options of rclone's, one ``name = value`` on a line. No message quotes what is in the file."""
    found = {}
    for number, line in enumerate(keyfiles.content(file, "credentials_file").decode(errors="replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith(("#", "[")):
            continue
        match = _SETTING.fullmatch(text)
        if match is None:
            raise UsageError(
                f"line {number} of the credentials_file {file} is not name = value.",
                hint="Write what rclone.conf has, such as: secret_access_key = …",
            )
        found[match[1]] = match[2].strip()
    return found
