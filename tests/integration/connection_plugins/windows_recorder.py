# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows host that is not there: it writes down what Ansible sends to it, and answers what the test says."""

from __future__ import annotations

DOCUMENTATION = """
name: windows_recorder
short_description: Write down what would be sent to a Windows host
description:
  - Adds a JSON line for each module to C(sent.jsonl) in the directory O(folder), with the arguments that the controller
    sent.
  - Answers with the first entry of C(answers.json) there that is about the module and whose arguments are among those
    that were sent; else as a module does that has never changed anything with these arguments.
options:
  folder:
    description: The directory of the files.
    type: path
    required: true
    vars:
      - name: windows_recorder_folder
"""

import base64
import hashlib
import json
import ntpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

TEMPORARY = r"C:\Users\ansible\AppData\Local\Temp\ansible-tmp"
_SEPARATOR = b"\0\0\0\0"
# What these do cannot be undone by being done again: the answer tells a change each time.
_ALWAYS_CHANGE = ("win_command", "win_powershell", "win_shell", "win_reboot")
_NEVER_CHANGE = ("setup", "slurp", "win_find", "win_ping", "win_stat", "win_whoami")
_NOTHING_THERE = {
    "win_command": {"rc": 0, "stdout": "", "stderr": ""},
    "win_find": {"examined": 0, "matched": 0, "files": []},
    "win_powershell": {"result": {}, "output": [], "error": [], "host_out": "", "host_err": ""},
    "win_scheduled_task_stat": {"folder_exists": False, "folder_task_names": [], "folder_task_count": 0},
    "win_service_info": {"exists": False, "services": []},
    "win_shell": {"rc": 0, "stdout": "", "stderr": ""},
    "win_stat": {"stat": {"exists": False}},
}


class Connection(ConnectionBase):
    """Each command is answered at once; nothing is run anywhere."""

    transport = "windows_recorder"
    module_implementation_preferences = (".ps1", ".exe", "")
    has_pipelining = True
    always_pipeline_modules = True
    allow_executable = False
    # What was copied to the host, until a module takes it from there: by another connection, perhaps.
    _CONTENT = "content.bin"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._shell_type = "powershell"
        super().__init__(*args, **kwargs)

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def close(self) -> None:
        self._connected = False

    def fetch_file(self, in_path: str, out_path: str) -> None:
        raise AnsibleError(f"No file is on this host: {in_path}, for {out_path}")

    def put_file(self, in_path: str, out_path: str) -> None:  # noqa: ARG002
        self._folder.joinpath(self._CONTENT).write_bytes(Path(in_path).read_bytes())

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        arguments = _module_arguments(in_data) if in_data else None
        if arguments is None:
            return 0, f"{TEMPORARY}\r\n".encode() if _makes_directory(cmd, in_data) else b"", b""
        answer = self._module(arguments)
        return int(answer.get("rc", 0)) if answer.get("failed") else 0, json.dumps(answer).encode(), b""

    @property
    def _folder(self) -> Path:
        return Path(str(self.get_option("folder")))

    def _module(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name = arguments["_ansible_module_name"].rpartition(".")[2]
        check = bool(arguments.get("_ansible_check_mode"))
        given = {key: value for key, value in arguments.items() if not key.startswith("_ansible_")}
        sent: dict[str, Any] = {"module": arguments["_ansible_module_name"], "check": check, "arguments": given}
        if arguments.get("_ansible_no_log"):
            sent["no_log"] = True
        content = self._folder / self._CONTENT
        if name == "win_copy" and given.get("_copy_mode") == "single" and content.exists():
            data = content.read_bytes()
            sent["content"] = base64.b64encode(data).decode()
            sent["sha1"] = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            content.unlink()
        answer = self._answer(name, sent)
        with self._folder.joinpath("sent.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**sent, "answer": answer}) + "\n")
        return answer

    def _answer(self, name: str, sent: dict[str, Any]) -> dict[str, Any]:
        if sent["check"] and name in self._settings["unchecked"]:
            return {"skipped": True, "changed": False, "msg": f"remote module ({name}) does not support check mode"}
        for each in self._settings["answers"]:
            if each["module"] != name or not _is_within(each.get("arguments", {}), sent["arguments"]):
                continue
            used = self._folder / f"{each['id']}.used"
            count = len(used.read_text(encoding="utf-8")) if used.exists() else 0
            if each["times"] and count >= each["times"]:
                continue
            used.write_text("." * (count + 1), encoding="utf-8")
            return {"changed": False, **each["answer"]}
        if name == "win_powershell" and "Below" in sent["arguments"].get("parameters", {}):
            return {"changed": False, **_NOTHING_THERE[name], "output": self._facts(sent["arguments"]["parameters"])}
        seen = self._seen(sent["arguments"])
        changed = name in _ALWAYS_CHANGE or (name not in _NEVER_CHANGE and not name.endswith("_stat") and not seen)
        answer = {"changed": changed, **_NOTHING_THERE.get(name, {})}
        if name == "win_copy":
            return {**answer, **self._copied(sent["arguments"])}
        return answer

    def _facts(self, asked: dict[str, Any]) -> list[str]:
        """As the script rights.ps1 of the role sqlite_backup; what no test told is not there."""
        told = [{"current": "S-1-5-21-1-2-3-500", "account": asked["Account"]}]
        paths = dict.fromkeys(above for path in asked["Path"] for above in _upwards(path))
        known = {each["path"]: each for each in self._settings["facts"] if _is_place(each)}
        told += [known.get(path, {"path": path, "kind": "absent"}) for path in paths]
        for each in self._settings["facts"]:
            names = "names" in each and each["path"] in asked["Names"]
            searched = each.get("kind") in ("searched", "program") and asked["Program"]
            if names or searched or each.get("below") in asked["Below"]:
                told.append(each)
        told += [each for path, each in known.items() if path not in paths]
        return [json.dumps(each) for each in told]

    def _copied(self, given: dict[str, Any]) -> dict[str, Any]:
        """As win_copy: asked what differs, it names each file that was not copied before with this content."""
        if given.get("_copy_mode") != "query":
            return {"changed": True, "operation": "file_copy", "dest": given["dest"]}
        files = [] if self._seen(given) else [{"src": each["src"], "dest": each["dest"]} for each in given["files"]]
        return {"changed": bool(files), "files": files, "directories": [], "symlinks": []}

    def _seen(self, given: dict[str, Any]) -> bool:
        file = self._folder / "sent.jsonl"
        lines = map(json.loads, file.read_text(encoding="utf-8").splitlines() if file.exists() else [])
        return any(not line["check"] and _same(line["arguments"]) == _same(given) for line in lines)

    @property
    def _settings(self) -> dict[str, Any]:
        return json.loads(self._folder.joinpath("answers.json").read_text(encoding="utf-8"))


def _upwards(path: str) -> Iterator[str]:
    yield path
    while (above := ntpath.dirname(path)) != path:
        yield above
        path = above


def _is_place(fact: dict[str, Any]) -> bool:
    return fact.get("kind") in ("file", "directory", "link", "absent") and not fact.get("below")


def _same(given: dict[str, Any]) -> dict[str, Any]:
    """Without the place of a scratch file of the controller, which is another one each time."""
    files = [{**each, "src": None} for each in given.get("files", []) if isinstance(each, dict)]
    return {**given, "files": files} if files else given


def _is_within(wanted: Any, given: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(given, dict):
        return all(key in given and _is_within(value, given[key]) for key, value in wanted.items())
    return bool(wanted == given)


def _module_arguments(in_data: bytes) -> dict[str, Any] | None:
    """What is behind the last separator: ansible-core 2.18 has the arguments there, later ones a list of actions."""
    payload = json.loads(in_data.rpartition(_SEPARATOR)[2].strip() or b"{}")
    if "module_args" in payload:
        return dict(payload["module_args"])
    for action in payload.get("actions", []):
        for variable in action.get("params", {}).get("Variables", []):
            if variable["Name"] == "complex_args":
                return dict(variable["Value"])
    return None


def _makes_directory(command: str, in_data: bytes | None) -> bool:
    if in_data:
        return b"powershell_mkdtemp.ps1" in in_data
    encoded = re.search(r"-EncodedCommand (\S+)", command)
    return encoded is not None and "New-Item" in base64.b64decode(encoded[1]).decode("utf-16-le")
