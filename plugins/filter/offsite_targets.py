# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `sqlite_offsite` writes for each target and each sending host, worked out from its variables.

The documentation is in offsite_targets.yml, offsite_receivers.yml and offsite_problems.yml. No message quotes what may
be secret.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import strict, target_config
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.plugin_utils import values

KEY_NAME = "id_ed25519"
CREDENTIALS_NAME = "credentials"
KNOWN_HOSTS_NAME = "known_hosts.d"
MANAGED_BY = "the role sqliteops.backup.sqlite_offsite, from its variables"
# Keys of a target that are for the role; known_hosts is a path to the runner, and a list of lines to the role.
ROLE_KEYS = ("name", "credentials", "known_hosts")
_RUNNER_KEYS = {name: key for name, key in target_config.KEYS.items() if name not in ROLE_KEYS}
_RECEIVER_KEYS = ("name", "key", "read_only", "state")
_PROGRAMS = {"ssh": ["rsync", "ssh"], "file": ["rsync"]}
_SETTING = re.compile(r"[a-z][a-z0-9_]*")
# It stands between quotes in authorized_keys, and is a word for a shell.
_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9_.+-]+)+")
_PUBLIC_KEY = re.compile(r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+ ([A-Za-z0-9+/]+=*)(?: [^\x00-\x1f\x7f]*)?")
_STATES = ("present", "absent")


def offsite_targets(
    targets: Sequence[Mapping[str, Any]], config_dir: str, home: str = "", ssh_key: Any = False, windows: bool = False
) -> list[dict[str, Any]]:
    """A plan for each of the targets. Raises ``AnsibleFilterError`` for what the role cannot do."""
    return _all_or_error(_targets(targets, config_dir, values.Paths(home, windows), ssh_key))


def offsite_receivers(
    hosts: Sequence[Mapping[str, Any]], directory: str, overwrite: Any = False
) -> list[dict[str, Any]]:
    """A plan for each key of a sending host. Raises ``AnsibleFilterError`` for what the role cannot do."""
    return _all_or_error(_receivers(hosts, directory, overwrite))


def offsite_problems(
    targets: Sequence[Mapping[str, Any]],
    config_dir: str,
    home: str = "",
    ssh_key: Any = False,
    hosts: Sequence[Mapping[str, Any]] = (),
    directory: str = "/",
    windows: bool = False,
) -> list[str]:
    """Why there can be no plans, a text for each target and host at fault; none when all is well."""
    found = [*_targets(targets, config_dir, values.Paths(home, windows), ssh_key)]
    found.extend(_receivers(hosts, directory, False) if hosts else ())
    return list(dict.fromkeys(str(each) for each in found if isinstance(each, UsageError)))


def _all_or_error(found: Iterator[dict[str, Any] | UsageError]) -> list[dict[str, Any]]:
    plans, problems = [], []
    for each in found:
        if isinstance(each, UsageError):
            problems.append(str(each))
        else:
            plans.append(each)
    if problems:
        raise AnsibleFilterError("\n".join(problems))
    return plans


def _targets(
    targets: Sequence[Mapping[str, Any]], config_dir: str, paths: values.Paths, ssh_key: Any
) -> Iterator[dict[str, Any] | UsageError]:
    """The plan of each target, or why there is none."""
    seen: set[str] = set()
    try:
        place = paths.made(config_dir, "sqlite_offsite_config_dir")
        makes_key = values.flag(ssh_key, "sqlite_offsite_ssh_key")
        checked = _items(targets, "sqlite_offsite_targets")
    except UsageError as error:
        yield error
        return
    for each in checked:
        try:
            name = _name(each, "sqlite_offsite_targets", seen, ignores_case=paths.windows)
            yield _target(each, name, place, paths, makes_key=makes_key)
        except UsageError as error:
            yield error


def _target(given: Mapping[str, Any], name: str, place: str, paths: values.Paths, *, makes_key: bool) -> dict[str, Any]:
    where = f"sqlite_offsite_targets: {name}"
    if name == KEY_NAME:
        raise UsageError(f"{where}: that is the name of the key of this host. Allowed is any other.")
    own = {key: value for key, value in given.items() if key not in ROLE_KEYS}
    content = values.typed_object(own, _RUNNER_KEYS, paths.absolute, where)
    credentials_path, known_hosts_path = (
        paths.names.join(place, each, name) for each in (CREDENTIALS_NAME, KNOWN_HOSTS_NAME)
    )
    key_path = paths.names.join(place, CREDENTIALS_NAME, KEY_NAME)
    scheme = str(content.get("url", "")).partition(":")[0]
    if paths.windows and scheme in _PROGRAMS:
        raise UsageError(
            f"{where}: its url begins with {scheme}:, which is for rsync, and a Windows host has none. Allowed are "
            "s3:, gs:, azblob: and rclone:."
        )
    credentials = _credentials(given.get("credentials"), scheme, f"{where}: credentials")
    known_hosts = _known_hosts(given.get("known_hosts"), f"{where}: known_hosts")
    own_file = paths.names.normpath(content.get("credentials_file", ""))
    if paths.names.dirname(own_file) == paths.names.dirname(key_path) and own_file != key_path:
        raise UsageError(f"{where}: credentials_file is in a directory of the role. Allowed is any other.")
    if credentials and "credentials_file" in content:
        raise UsageError(f"{where}: both credentials and credentials_file are given. Allowed is one of them.")
    if credentials:
        content["credentials_file"] = credentials_path
    elif makes_key and scheme == "ssh":
        content.setdefault("credentials_file", key_path)
    if known_hosts:
        content["known_hosts"] = known_hosts_path
    file = paths.names.join(place, target_config.TARGETS_NAME, f"{name}.json")
    target_config.checked(content, name, file=Path(file), told=where, is_absolute=paths.names.isabs)
    return {
        "name": name,
        "config": {strict.MANAGED_BY: MANAGED_BY, **content},
        "config_path": file,
        "credentials": credentials,
        "credentials_path": credentials_path,
        "known_hosts": known_hosts,
        "known_hosts_path": known_hosts_path,
        "programs": _PROGRAMS.get(scheme, ["rclone"]),
    }


def _credentials(given: Any, scheme: str, where: str) -> str:
    """What the file holds, as the runner reads it."""
    if given is None or given == "":
        return ""
    if isinstance(given, str):
        return given if given.endswith("\n") else f"{given}\n"
    if not isinstance(given, Mapping):
        raise UsageError(f"{where} is neither a text nor a dictionary. Allowed are these.")
    if scheme == "gs":
        return f"{json.dumps(given, indent=2)}\n"
    if scheme not in ("s3", "azblob"):
        raise UsageError(f"{where} is a dictionary. Allowed is a text: the private key, or what rclone.conf holds.")
    for name, value in given.items():
        if not _SETTING.fullmatch(str(name)):
            raise UsageError(
                f"{where} has a name that is none of an option of rclone. Allowed are names as in rclone.conf."
            )
        if not str(value).strip() or not str(value).isprintable():
            raise UsageError(f"{where}: {name} is empty, or has a control character. Allowed is a line of text.")
    return "".join(f"{name} = {value}\n" for name, value in given.items())


def _known_hosts(given: Any, where: str) -> str:
    if given is None:
        return ""
    lines = [str(each).strip() for each in ([given] if isinstance(given, str) else values.sequence(given, where))]
    for line in lines:
        if len(line.split()) < 3 or not line.isprintable():
            raise UsageError(f"{where} has the line {line!r:.80}. Allowed are lines such as: nas ssh-ed25519 AAAA…")
    return "".join(f"{line}\n" for line in lines)


def _receivers(
    hosts: Sequence[Mapping[str, Any]], directory: str, overwrite: Any
) -> Iterator[dict[str, Any] | UsageError]:
    """The plan of each key, or why there is none."""
    seen: set[str] = set()
    try:
        place = _plain(directory, "sqlite_offsite_receiver_dir")
        may_overwrite = values.flag(overwrite, "sqlite_offsite_receiver_overwrite")
        checked = _items(hosts, "sqlite_offsite_receiver_hosts")
    except UsageError as error:
        yield error
        return
    for each in checked:
        try:
            yield _receiver(each, place, seen, may_overwrite=may_overwrite)
        except UsageError as error:
            yield error


def _receiver(given: Mapping[str, Any], place: str, seen: set[str], *, may_overwrite: bool) -> dict[str, Any]:
    name = _name(given, "sqlite_offsite_receiver_hosts", set())
    where = f"sqlite_offsite_receiver_hosts: {name}"
    for key in given:
        if key not in _RECEIVER_KEYS:
            raise UsageError(f"{where}: there is no key {key}. {strict.nearest(str(key), _RECEIVER_KEYS)}")
    state = str(given.get("state") or "present")
    if state not in _STATES:
        raise UsageError(f"{where}: state is {state!r}. Allowed are {' and '.join(_STATES)}.")
    plan = {"name": name, "path": f"{place}/{name}", "state": state}
    if state == "absent":
        return plan
    key = str(given.get("key") or "").strip()
    match = _PUBLIC_KEY.fullmatch(key)
    if match is None:
        raise UsageError(f"{where}: key is no public key. Allowed is the line of one file, such as id_ed25519.pub.")
    if match[1] in seen:
        raise UsageError(f"{where}: this key stands there twice. Allowed is each key once: sshd takes the first.")
    seen.add(match[1])
    # Without -no-lock a host could send the copy of one database at a time.
    options = "-wo -no-del -no-lock" if may_overwrite else "-wo -no-del -no-overwrite -no-lock"
    if values.flag(given.get("read_only", False), f"{where}: read_only"):
        options = "-ro"
    return {**plan, "line": f'restrict,command="rrsync {options} {plan["path"]}" {key}'}


def _plain(path: Any, where: str) -> str:
    text = posixpath.normpath(str(path))
    if not _PLAIN_PATH.fullmatch(text):
        raise UsageError(f"{where} is {text!r}. Allowed is an absolute path of letters, digits and _ . + -")
    return text


def _items(given: Any, where: str) -> list[Mapping[str, Any]]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise UsageError(f"{where} is not a list. Allowed is a list of dictionaries.")
    for each in given:
        if not isinstance(each, Mapping):
            raise UsageError(f"{where}: an item is not a dictionary. Allowed is a list of dictionaries.")
    return [*given]


def _name(given: Mapping[str, Any], where: str, seen: set[str], *, ignores_case: bool = False) -> str:
    name = "" if given.get("name") is None else str(given["name"])
    if not strict.NAME.fullmatch(name):
        raise UsageError(
            f"{where}: name is {name!r}. Allowed are letters, digits, - and _, with a letter or a digit first."
        )
    key = name.lower() if ignores_case else name
    if key in seen:
        raise UsageError(f"{where}: name {name!r} is that of two. Allowed is each name once.")
    seen.add(key)
    return name


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "offsite_targets": offsite_targets,
            "offsite_receivers": offsite_receivers,
            "offsite_problems": offsite_problems,
        }
