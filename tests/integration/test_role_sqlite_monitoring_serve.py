# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service of the role sqlite_monitoring that answers over HTTP: what it may do, and when it comes and goes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
from integration import monitoring
from integration.harness import Run
from integration.place import Place

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to root")


class Served:
    """What the role writes on a host, with its files in the test's own place; no systemd of this host runs it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.root = place.directory / "root"
        self.unit = self.root / "units" / "sqlite-monitoring.service"
        self.unit.parent.mkdir(parents=True)
        (self.root / "etc").mkdir()

    def apply(self, *flags: str, **more: Any) -> Run:
        paths = {
            "textfile_directory": "textfile",
            "status_file": "state/status.json",
            "config_dir": "etc/sqlite-backup",
        }
        variables = {
            **{f"sqlite_monitoring_{name}": str(self.root / path) for name, path in paths.items()},
            "sqlite_monitoring_serve": True,
            **{f"sqlite_monitoring_{name}": value for name, value in more.items()},
            "sqlite_backup_runner_path": str(self.root / "50% odd" / "runner"),
            "__sqlite_monitoring_units": str(self.unit.parent),
            "__sqlite_monitoring_logrotate": str(self.root / "logrotate"),
            "__sqlite_monitoring_has_systemd": True,
        }
        return monitoring.apply(self.place.directory / "ansible", variables, *flags)

    def settings(self) -> dict[str, str]:
        lines = self.unit.read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")


@pytest.fixture
def host(place: Place) -> Served:
    return Served(place)


@pytest.mark.thorough
def test_the_service_may_read_and_no_more(host: Served) -> None:
    check = host.apply("--check", "--diff")
    assert check.code == 0, check.output
    assert "ExecStart=" in check.output
    assert not host.unit.exists()
    host.apply()
    settings = host.settings()
    words = [f"{host.root}/50%% odd/runner", "serve", "--listen", "127.0.0.1:9187"]
    words += ["--config", f"{host.root}/etc/sqlite-backup"]
    assert settings["ExecStart"] == " ".join(f'"{each}"' for each in words)
    assert settings["Type"] == "notify"
    assert settings["ProtectSystem"] == "strict"
    assert settings["ReadWritePaths"] == ""
    assert settings["User"] == "root"
    assert (settings["IPAddressDeny"], settings["IPAddressAllow"]) == ("any", "localhost")


@pytest.mark.thorough
def test_another_address_can_be_reached(host: Served) -> None:
    host.apply(serve_listen="0.0.0.0:9187")
    assert "IPAddressDeny" not in host.settings()


@pytest.mark.thorough
def test_another_runner_is_another_service(host: Served) -> None:
    host.apply()
    before = host.unit.read_text(encoding="utf-8")
    runner = host.root / "50% odd" / "runner"
    runner.parent.mkdir()
    runner.write_text("new", encoding="utf-8")
    host.apply()
    assert host.unit.read_text(encoding="utf-8") != before


@pytest.mark.thorough
@pytest.mark.parametrize("address", ["9187", "backup.example:80", "::1:80"])
def test_what_cannot_be_is_said(host: Served, address: str) -> None:
    run = host.apply(serve_listen=address)
    assert run.code != 0
    told = f"sqlite_monitoring_serve_listen is '{address}'. Allowed are an address and a port"
    assert told in " ".join(run.output.split())
    assert not host.unit.exists()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.thorough
def test_systemd_understands_it_and_finds_little_to_say(host: Served) -> None:
    host.apply()
    text = host.unit.read_text(encoding="utf-8").replace(f"{host.root}/50%% odd/runner", sys.executable)
    host.unit.write_text(text, encoding="utf-8")
    verify = subprocess.run(["systemd-analyze", "verify", host.unit], check=False, capture_output=True, text=True)
    assert [line for line in verify.stderr.splitlines() if "sqlite-monitoring" in line] == []
    rate = ["systemd-analyze", "security", "--offline=true", "--json=short", host.unit]
    done = subprocess.run(rate, check=False, capture_output=True, text=True)
    if "offline" in done.stderr:
        pytest.skip("this systemd-analyze looks at running services only")
    found = {each["name"]: each["exposure"] for each in json.loads(done.stdout)}
    assert sum(float(each) for each in found.values() if each) < 3.5
