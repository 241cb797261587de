# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as an automation controller has it: installed from its artifact, and run by ansible-runner.

The environment is a virtual one. In it are ansible-core and ansible-runner, as in every execution environment, and what
ansible-builder finds named by meta/execution-environment.yml of the installed collection, nothing else.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration import harness
from integration.harness import Result
from integration.home import CRONTAB
from integration.place import Place, commit_and_crash, names_in

from support import databases, keys, servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

REQUIREMENTS = harness.ROOT / "tests" / "requirements"
PLAYBOOKS = sorted(each.stem for each in (harness.ROOT / "playbooks").glob("*.yml"))
LOST = "committed-after-the-backup"
# What pip says when there is no package index to ask.
_NO_INDEX = re.compile(r"from versions: none|NewConnectionError|Temporary failure in name resolution")


@dataclass(frozen=True)
class Job:
    """One that ended, as a controller stores it."""

    status: str
    code: int
    results: list[Result]
    stdout: str

    @property
    def last(self) -> Result:
        return self.results[-1]


@dataclass(frozen=True)
class Needs:
    """The installed collection, and what ansible-builder reads there; ``builder`` is where its programs are."""

    builder: Path
    collections: Path
    named: dict[str, list[str]]


@dataclass(frozen=True)
class Environment:
    """An execution environment: where its programs are, and its collections."""

    programs: Path
    collections: Path

    def run(self, place: Place, playbook: str, variables: dict[str, Any]) -> Job:
        """Let ansible-runner run a playbook of the collection from a project of its own, on localhost."""
        folder = place.directory / "job"
        home = place.directory / "home"
        path = f"{self.programs}{os.pathsep}{place.directory}{os.pathsep}{os.environ['PATH']}"
        host = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        files = {
            "project/site.yml": [{"ansible.builtin.import_playbook": f"{harness.NAMESPACE}.{playbook}"}],
            "inventory/hosts.json": {"all": {"hosts": {"localhost": host}}},
            "env/envvars": {"ANSIBLE_COLLECTIONS_PATH": str(self.collections), "HOME": str(home), "PATH": path},
            "env/extravars": variables,
        }
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
        home.mkdir(exist_ok=True)
        ident = f"{playbook}-{len([*folder.glob('artifacts/*')])}"
        command = [str(self.programs / "ansible-runner"), "run", str(folder), "--playbook=site.yml", f"--ident={ident}"]
        env = {"LC_ALL": "C.UTF-8", "PATH": path}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        artifacts = folder / "artifacts" / ident
        assert artifacts.is_dir(), done.stdout + done.stderr
        events = [json.loads(each.read_text(encoding="utf-8")) for each in (artifacts / "job_events").glob("*-*.json")]
        ended = [
            each["event_data"]["res"]
            for each in sorted(events, key=lambda each: each["counter"])
            if each["event"] in ("runner_on_ok", "runner_on_failed")
        ]
        status, code, stdout = ((artifacts / each).read_text(encoding="utf-8") for each in ("status", "rc", "stdout"))
        return Job(status, int(code), ended, stdout)


@pytest.fixture(scope="module")
def needs(tmp_path_factory: pytest.TempPathFactory) -> Needs:
    folder = tmp_path_factory.mktemp("needs")
    builder = _virtual(folder / "builder", "builder.txt")
    collections = _install_collection(folder)
    said = _run(builder / "ansible-builder", "introspect", str(collections)).stdout
    return Needs(builder, collections, yaml.safe_load(said))


@pytest.fixture(scope="module")
def environment(needs: Needs, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What ansible-builder would make, but for the packages of the system, which no test may install."""
    file = tmp_path_factory.mktemp("environment") / "bindep.txt"
    file.write_text("".join(f"{each}\n" for each in needs.named["system"]), encoding="utf-8")
    command = [str(needs.builder / "bindep"), "--brief", f"--file={file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 1 and done.stdout:
        pytest.skip(f"not installed: {', '.join(done.stdout.split())}")
    assert done.returncode == 0, done.stdout + done.stderr
    programs = _virtual(file.with_name("environment"), "environment.txt")
    if needs.named["python"]:
        _run(programs / "python", "-m", "pip", "install", "--quiet", *needs.named["python"])
    return Environment(programs, needs.collections)


def _virtual(folder: Path, requirements: str) -> Path:
    """Make a virtual environment, and return where its programs are."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS / requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and _NO_INDEX.search(done.stderr):
        pytest.skip(f"there is no package index for tests/requirements/{requirements}")
    assert done.returncode == 0, done.stderr
    return python.parent


def _install_collection(folder: Path) -> Path:
    galaxy = [*harness.program("ansible-galaxy"), "collection"]
    collections = folder / "collections"
    env = {**harness.environment(folder), "ANSIBLE_COLLECTIONS_PATH": str(collections)}
    _run(*galaxy, "build", "--output-path", str(folder), str(harness.ROOT), env=env)
    (artifact,) = folder.glob("*.tar.gz")
    _run(*galaxy, "install", "--offline", "--collections-path", str(collections), str(artifact), env=env)
    return collections


def _run(*command: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_it_names_what_the_modules_run(needs: Needs) -> None:
    """No package of Python, and for each program the package that the role would install."""
    variables = yaml.safe_load((harness.ROOT / "roles/sqlite_backup/vars/main.yml").read_text(encoding="utf-8"))
    renamed = variables["__sqlite_backup_package_names"]
    programs = ["age", "gpg", "zstd"]
    debian = {"rclone", "rsync", "openssh-client"} | {renamed["Debian"].get(each, each) for each in programs}
    redhat = {"rclone", "rsync", "openssh-clients"} | {renamed["RedHat"].get(each, each) for each in programs}

    def named(platform: str) -> set[str]:
        return {each.split()[0] for each in needs.named["system"] if f"platform:{platform}" in each}

    assert needs.named["python"] == []
    assert named("dpkg") == debian
    assert named("rpm") == redhat - {"age", "rclone"}
    assert len(needs.named["system"]) == len(debian | redhat)


def test_every_playbook(environment: Environment, place: Place) -> None:
    """Back up, verify, lose the database, restore it; have the role back it up; and last a job that fails."""
    (place.directory / "crontab").write_text(CRONTAB, encoding="utf-8")
    (place.directory / "crontab").chmod(0o755)
    secret = keys.passphrase()
    stores = {name: place.directory / "backups" / name for name in ("plain", "age", "gpg")}
    encryptions = {
        "plain": {},
        "age": {"encryption": {"method": "age", "recipients": [keys.age_recipient()]}},
        "gpg": {"encryption": {"method": "gpg", "passphrase_file": str(secret)}},
    }
    opened = {"age": {"identity_file": str(keys.age_identity())}, "gpg": {"passphrase_file": str(secret)}}
    ran: dict[str, Job] = {}

    def run(playbook: str, **variables: Any) -> Job:
        ran[playbook] = environment.run(place, playbook, variables)
        assert (ran[playbook].status, ran[playbook].code) == ("successful", 0), ran[playbook].stdout
        return ran[playbook]

    entries = [
        {"path": str(place.database), "repository": str(stores[name]), "compression": "zstd", **encryptions[name]}
        for name in stores
    ]
    backed_up = run("backup_databases", sqlite_backup_databases=entries).last["results"]
    assert [(each["changed"], each["backup"]["tables"]) for each in backed_up] == [(True, {"item": 3})] * 3

    repositories = [{"repository": str(stores[name]), **opened.get(name, {})} for name in stores]
    verified = run("verify_backups", sqlite_verify_repositories=repositories).last["results"]
    assert [each["verification"]["outcome"] for each in verified] == ["passed"] * 3

    drills = [{"name": name, "repository": str(stores[name]), **opened.get(name, {})} for name in stores]
    drilled = run("drill_restores", sqlite_restore_drill_databases=drills)
    assert drilled.stdout.count('"passed ') == len(stores), drilled.stdout

    with servers.mounted(place.directory) as there:
        entries = [{"repository": str(each)} for each in stores.values()]
        pushed = run("push_offsite", sqlite_push_target=there.target, sqlite_push_repositories=entries).last["results"]
        assert sorted(each.name for each in there.files.iterdir()) == sorted(stores)
    assert [(each["changed"], each["verified"]) for each in pushed] == [(True, True)] * 3

    kept = databases.names(place.database)
    commit_and_crash(place.database, LOST)
    restored = {"sqlite_restore_repository": str(stores["plain"]), "sqlite_restore_dest": str(place.database)}
    assert any("restore" in each and each["changed"] for each in run("restore_database", **restored).results)
    assert names_in(place.database, place.directory / "restored") == kept

    own = {"sqlite_backup_scope": "user", "sqlite_backup_databases": [{"name": "own", "path": str(place.database)}]}
    run("provision_backups", **own)
    databases.add(place.database, LOST)
    run("backup_now", **own, reason="before a test")
    run("prune_backups", **own)
    there = {"runner_path": "~/.local/bin/sqlite-backup", "config_dir": "~/.config/sqlite-backup"}
    told = run("report_fleet", **{f"sqlite_fleet_{name}": path for name, path in there.items()})
    assert '"ok ' in told.stdout, told.stdout
    home = place.directory / "home"
    assert (home / "crontab").read_text(encoding="utf-8").count("sqlite-backup backup own") == 1
    assert len([*home.glob(".local/share/sqlite-backup/own/*Z-*/manifest.json")]) == 2

    # A new host takes over as root, from a target: Molecule's scenario recover.
    assert sorted([*ran, "recover_server"]) == PLAYBOOKS
    assert [each for each in ran if keys.PASSPHRASE in ran[each].stdout + json.dumps(ran[each].results)] == []

    missing = {"path": str(place.srv / "missing.db"), "repository": str(place.repository)}
    failed = environment.run(place, "backup_databases", {"sqlite_backup_databases": [missing]})
    assert (failed.status, failed.code) == ("failed", 2), failed.stdout
    (result,) = failed.last["results"]
    assert (result["error"]["code"], bool(result["error"]["hint"])) == (10, True)
