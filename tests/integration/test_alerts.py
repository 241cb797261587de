# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a run to a webhook, with the real programs: the runner, node_exporter, Prometheus, Alertmanager.

All of them are on loopback, on ports of their own, and end with the test.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from integration import monitoring

from support import databases, servers
from support.hosts import OWN_PROCESS

pytestmark = pytest.mark.slow

WAIT_SECONDS = 120
RPO_SECONDS = 20
# Seconds, in place of hours.
THRESHOLDS = {"absent_after": "2s", "remember": "10m", "max_silence": "1h"}
HOSTS = ("failing", "stopped", "gone", "well")


@dataclass
class Pager:
    """The alerts that somebody was told of, as Alertmanager sends them."""

    port: int = 0
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def about(self, name: str, host: str) -> dict[str, Any] | None:
        """The newest word on the alert ``name`` of ``host``."""
        for each in reversed(self.alerts):
            if each["labels"]["alertname"] == name and each["labels"].get("instance") == host:
                return each
        return None


@contextlib.contextmanager
def paged() -> Iterator[Pager]:
    pager = Pager()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            pager.alerts.extend(content["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pager.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield pager
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Host:
    """A host with a database, its runner, and a node_exporter."""

    def __init__(self, directory: Path) -> None:
        self.name = directory.name
        self.directory = directory
        self.textfile = directory / "textfile"
        self.config = directory / "etc"
        self.port = servers.free_port()
        self.exporter: subprocess.Popen[bytes] | None = None
        for each in (directory, self.textfile, self.config, self.config / "databases.d"):
            each.mkdir()
        self.database = databases.make(directory / "agent.db")
        content = {"path": str(self.database), "repository": str(directory / "backups"), "compression": "gzip"}
        self.configure("databases.d/agent.json", {**content, "rpo": f"{RPO_SECONDS}s"})
        self.configure("watch.json", {"textfile_directory": str(self.textfile)})

    def configure(self, name: str, content: dict[str, Any]) -> None:
        path = self.config / name
        path.write_text(json.dumps(content), encoding="utf-8")
        path.chmod(0o600)

    def back_up(self) -> int:
        """A run as a schedule makes it; its exit code."""
        words = [*OWN_PROCESS, "backup", "agent", "--config", str(self.config), "--json"]
        run = subprocess.run(words, check=False, capture_output=True, text=True, env=os.environ)
        (result,) = json.loads(run.stdout)["results"]
        assert result["warnings"] == []
        return run.returncode

    @contextlib.contextmanager
    def exporting(self) -> Iterator[None]:
        words = [monitoring.program("prometheus-node-exporter"), "--collector.disable-defaults", "--collector.textfile"]
        words += [f"--collector.textfile.directory={self.textfile}", f"--web.listen-address=127.0.0.1:{self.port}"]
        with servers.running(words, self.port, self.directory / "exporter.log") as self.exporter:
            yield


@dataclass
class World:
    """All that watches the hosts."""

    hosts: dict[str, Host]
    pager: Pager
    prometheus: int

    def ask(self, path: str, **parameters: str) -> Any:
        """What the API of Prometheus answers."""
        url = f"http://127.0.0.1:{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]


def until(what: Callable[[], Any]) -> Any:
    """What ``what`` answers, once that is something."""
    end = time.monotonic() + WAIT_SECONDS
    while not (found := what()):
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.25)
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    top = tmp_path_factory.mktemp("alerts")
    given = {f"sqlite_monitoring_alert_{name}": value for name, value in THRESHOLDS.items()}
    rules = monitoring.rules(top / "rules", **given)
    hosts = {name: Host(top / name) for name in HOSTS}
    # Nothing was heard of them yet; from here on, time matters.
    for host in hosts.values():
        assert host.back_up() == 0
    monitoring.tell(hosts["well"].textfile, "agent")
    with contextlib.ExitStack() as stack:
        pager = stack.enter_context(paged())
        for host in hosts.values():
            stack.enter_context(host.exporting())
        port = stack.enter_context(alerting(top / "alertmanager", pager.port))
        yield World(hosts, pager, stack.enter_context(collecting(top / "prometheus", hosts, rules, port)))


@contextlib.contextmanager
def alerting(directory: Path, pager: int) -> Iterator[int]:
    directory.mkdir()
    route = {"receiver": "pager", "group_by": ["instance", "database"], "group_wait": "100ms", "group_interval": "1s"}
    receiver = {"name": "pager", "webhook_configs": [{"url": f"http://127.0.0.1:{pager}/", "send_resolved": True}]}
    config = directory / "config.yml"
    config.write_text(json.dumps({"route": route, "receivers": [receiver]}), encoding="utf-8")
    port = servers.free_port()
    words = [monitoring.program("prometheus-alertmanager"), f"--config.file={config}", "--cluster.listen-address="]
    words += [f"--storage.path={directory}", f"--web.listen-address=127.0.0.1:{port}"]
    with servers.running(words, port, directory / "log"):
        yield port


@contextlib.contextmanager
def collecting(directory: Path, hosts: dict[str, Host], rules: Path, alertmanager: int) -> Iterator[int]:
    directory.mkdir()
    at = [{"targets": [f"127.0.0.1:{host.port}"], "labels": {"instance": name}} for name, host in hosts.items()]
    content = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "node", "static_configs": at}],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
    }
    config = directory / "config.yml"
    config.write_text(json.dumps(content), encoding="utf-8")
    port = servers.free_port()
    words = [monitoring.program("prometheus"), f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
    with servers.running([*words, f"--storage.tsdb.path={directory}/data"], port, directory / "log"):
        yield port


def test_a_backup_that_fails(world: World) -> None:
    host = world.hosts["failing"]
    host.database.write_bytes(b"PK" + bytes(4096))
    code = host.back_up()
    assert code == 10

    told = until(lambda: world.pager.about("SqliteBackupFailed", "failing"))
    assert told["status"] == "firing"
    assert told["annotations"]["summary"] == f"agent on failing: the last backup failed with code {code}"
    assert "sqlite-backup status agent" in told["annotations"]["description"]

    host.database.unlink()
    databases.make(host.database)
    assert host.back_up() == 0
    until(lambda: (world.pager.about("SqliteBackupFailed", "failing") or {}).get("status") == "resolved")


def test_a_host_whose_backups_stopped(world: World) -> None:
    """Nothing fails there, and nothing is told any more."""
    told = until(lambda: world.pager.about("SqliteBackupTooOld", "stopped"))
    assert "agent on stopped: the newest good backup is " in told["annotations"]["summary"]
    assert told["labels"]["severity"] == "critical"


def test_a_host_of_which_nothing_is_heard_any_more(world: World) -> None:
    asked = 'database_backup_state{state="ok", instance="gone"}'
    until(lambda: world.ask("query", query=asked)["result"])
    exporter = world.hosts["gone"].exporter
    assert exporter is not None
    exporter.terminate()

    told = until(lambda: world.pager.about("SqliteBackupAbsent", "gone"))
    assert told["annotations"]["summary"] == "agent on gone: nothing is heard of its backups any more"


def test_where_all_is_well_nobody_is_called(world: World) -> None:
    until(lambda: world.ask("query", query='database_backup_state{instance="well"}')["result"])
    assert [each["labels"] for each in world.pager.alerts if each["labels"].get("instance") == "well"] == []


def test_every_question_of_the_dashboard_has_an_answer(world: World) -> None:
    counted = 'count_over_time(database_backup_state{state="ok", instance="well"}[1m]) >= 3'
    until(lambda: world.ask("query", query=counted)["result"])

    silent = [
        (title, query) for title, query in monitoring.questions() if not world.ask("query", query=query)["result"]
    ]
    assert silent == []
    names = world.ask("label/database/values", **{"match[]": 'database_backup_state{instance=~".+"}'})
    assert names == ["agent"]
