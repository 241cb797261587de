# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command serve: what it answers is true, whoever asks, however many, and whatever hangs."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from support import served
from support.hosts import Host
from support.served import Server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="serve needs fork(2)")

ANY = "127.0.0.1:0"


@pytest.fixture
def host(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, capfd)


@pytest.fixture
def server(host: Host) -> Iterator[Server]:
    with served.running(host.command("serve", "--reasons", "--listen", ANY)) as found:
        yield found


def states(server: Server) -> dict[str, str]:
    return {each["name"]: each["state"] for each in server.ask("/health").document["databases"]}


def backed_up(host: Host, name: str, monkeypatch: pytest.MonkeyPatch, ago: timedelta) -> None:
    """A backup made by a clock that is behind by so much, for a schedule that is older than that."""
    moment = clock.now() - ago
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: moment)
        assert host.run("backup", name).code == 0


def test_says_how_well_all_are_and_how_well_one_is(host: Host, server: Server) -> None:
    host.add("orders")
    assert host.run("backup", "agent").code == 0

    answer = server.ask("/health")
    assert (answer.status, answer.document["state"]) == (503, "missed")
    assert states(server) == {"agent": "ok", "orders": "missed"}
    one = server.ask("/health?database=agent")
    assert (one.status, one.document["state"]) == (200, "ok")
    assert [each["name"] for each in one.document["databases"]] == ["agent"]
    assert server.ask("/health?database=orders").status == 503
    assert server.ask("/health?database=nobody").status == 404
    for wrong in ("databse=agent", "database=agent&database=orders", "database", "x"):
        assert server.ask(f"/health?{wrong}").status in (400, 404), wrong


def test_metrics_are_those_of_prometheus(host: Host, server: Server) -> None:
    host.run("backup", "agent")
    answer = server.ask("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'database_backup_success_total{database="agent",type="full"} 1' in answer.body.splitlines()
    assert 'database_backup_state{database="agent",state="ok"} 1' in answer.body.splitlines()
    if shutil.which("promtool"):
        subprocess.run(["promtool", "check", "metrics"], input=answer.body, text=True, check=True)


def test_page_is_for_people_and_tells_why_to_this_host_alone(host: Host, server: Server) -> None:
    reason = "There is no verified backup."
    page = server.ask("/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert reason in page.body
    assert "SQLite backups of " in page.body
    for name, value in (("Host", "evil.example"), ("X-Forwarded-For", "192.0.2.1"), ("Via", "1.1 proxy")):
        closed = server.ask("/", headers={name: value})
        assert closed.status == 200
        assert "missed" in closed.body
        assert reason not in closed.body
        assert str(host.directory) not in closed.body


def test_health_and_metrics_name_no_path_and_no_reason(host: Host, server: Server) -> None:
    host.database().unlink()
    assert host.run("backup", "agent").code == 10
    for target in ("/health", "/metrics"):
        said = server.ask(target).body
        assert "agent" in said
        assert str(host.directory) not in said
        assert "no such" not in said.lower()
        assert "verified backup." not in said


@pytest.mark.parametrize("target", ["/", "/health", "/metrics", "/nowhere"])
def test_head_is_an_answer_without_its_body_and_all_are_hardened(server: Server, target: str) -> None:
    get, head = server.ask(target), server.ask(target, "HEAD")
    assert (head.status, head.body) == (get.status, "")
    assert head.headers["content-length"] == str(len(get.body.encode()))
    for each in (get, head):
        assert each.headers["x-content-type-options"] == "nosniff"
        assert each.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in each.headers["content-security-policy"]
        assert each.headers["server"] == "sqlite-backup"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_nothing_but_reading_is_allowed(server: Server, method: str) -> None:
    answer = server.ask("/health", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "target",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/health/../metrics",
        "/health/",
        "http://x/health",
        "*",
        "/etc",
    ],
)
def test_no_path_leads_anywhere_else(server: Server, target: str) -> None:
    answer = server.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.0 404 ")
    assert b"root:" not in answer
    assert target.encode() not in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /health HTTP/1.1\r\nX: " + b"a" * 20_000, 431),
        (b"GET /" + b"a" * 20_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\n\n", 400),
        (b"GET /health HTTP/9.9\r\n\r\n", 505),
        (b"GET /health HTTP/1.1 <script>\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_without_its_words(server: Server, request_: bytes, status: int) -> None:
    answer = server.send(request_)
    assert answer.split(b"\r\n")[0].split()[1] == str(status).encode()
    assert b"<script>" not in answer
    assert b"aaaa" not in answer
    assert server.ask("/health").status == 503


@pytest.mark.slow
def test_slow_clients_hold_up_nobody_for_long(host: Host, server: Server) -> None:
    """More than the server takes at once, each sending a little now and then, for ever."""
    host.run("backup", "agent")
    clients = [server.connect() for _each in range(130)]
    try:
        for each in clients:
            each.sendall(b"GET /health HTTP/1.1\r\n")
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.ask, "/health")
            while not answer.done():
                for each in clients:
                    try:
                        each.sendall(b"X: y\r\n")
                    except OSError:
                        continue
                time.sleep(0.2)
        assert answer.result().status == 200
        assert time.monotonic() - began < 15
        threads = len(list(Path(f"/proc/{child_of(server)}/task").iterdir())) if Path("/proc").exists() else 0
        assert threads <= 102
    finally:
        for each in clients:
            each.close()


def child_of(server: Server) -> int:
    """The process that answers."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text(encoding="ascii")
    return int(children.split()[0])


@pytest.mark.slow
def test_many_clients_while_backups_run(host: Host, server: Server) -> None:
    """Every answer is whole and true, and every backup is made."""
    host.run("backup", "agent")

    def ask(number: int) -> list[tuple[int, str]]:
        target = ("/health", "/metrics", "/")[number % 3]
        found = []
        for _each in range(20):
            answer = server.ask(target)
            if target == "/health":
                assert answer.document["databases"][0]["name"] == "agent"
            assert answer.headers["content-length"] == str(len(answer.body.encode()))
            found.append((answer.status, target))
        return found

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        clients = [pool.submit(ask, number) for number in range(50)]
        codes = []
        while not codes or not all(each.done() for each in clients):
            host.change(text=f"row {len(codes)}")
            codes.append(host.run_apart("backup", "agent").code)
        answers = [answer for each in clients for answer in each.result()]
    assert len(answers) == 1000
    assert {status for status, _target in answers} == {200}
    assert set(codes) == {0}


def test_those_who_ask_at_once_cost_one_look(host: Host) -> None:
    """What is noted of each look: 50 clients, and one line."""
    counted = host.directory / "looks"
    script = served.slow(host.config, 5)
    script[2] = script[2].replace("    return real(", f"    open({str(counted)!r}, 'a').write('x')\n    return real(")
    with served.running(script) as server, concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: server.ask("/health").status, range(50)))
        assert set(answers) == {503}
        assert counted.read_text(encoding="ascii") == "x"


def test_database_that_fails_is_named(host: Host, server: Server) -> None:
    host.add("orders")
    assert (host.run("backup", "agent").code, host.run("backup", "orders").code) == (0, 0)
    host.database("orders").write_bytes(b"not a database at all" * 100)
    assert host.run("backup", "orders").code == 10
    answer = server.ask("/health")
    assert answer.status == 503
    assert states(server) == {"agent": "ok", "orders": "failing"}


def test_schedule_that_is_gone_is_noticed(host: Host, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing failed, nobody said anything: no run came."""
    file = host.config / "databases.d" / "agent.json"
    due = {"minute": "*", "hour": "*", "grace": "1m"}
    host.configure("agent", {**json.loads(file.read_text(encoding="utf-8")), "due": due})
    os.utime(file, (time.time() - 86400,) * 2)
    backed_up(host, "agent", monkeypatch, timedelta(hours=2))
    assert states(server) == {"agent": "failing"}
    assert server.ask("/health").status == 503


def test_clock_that_is_behind_is_not_well(host: Host, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.run("backup", "agent").code == 0
    host.change()
    backed_up(host, "agent", monkeypatch, -timedelta(hours=2))
    assert states(server)["agent"] != "ok"


def test_repository_that_is_gone_is_not_well(host: Host, server: Server) -> None:
    assert host.run("backup", "agent").code == 0
    host.repository().rename(host.directory / "away")
    answer = server.ask("/health")
    assert (answer.status, states(server)) == (503, {"agent": "failing"})
    assert 'database_backup_state{database="agent",state="failing"} 1' in server.ask("/metrics").body


def test_configuration_that_cannot_be_read_is_not_well(host: Host, server: Server) -> None:
    host.configure("agent", "{")
    assert states(server) == {"agent": "failing"}


def test_without_any_database_nothing_is_well(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    host = Host(tmp_path, capfd, bare=True)
    with served.running(host.command("serve", "--listen", ANY)) as server:
        answer = server.ask("/health")
        assert (answer.status, answer.document["state"]) == (503, "unknown")
        assert "No database is configured." in server.ask("/").body


def test_database_that_hangs_is_unknown_and_the_others_are_as_they_are(host: Host) -> None:
    host.add("orders")
    assert (host.run("backup", "agent").code, host.run("backup", "orders").code) == (0, 0)
    (host.config / "orders.hangs").touch()
    with served.running(served.slow(host.config, 1)) as server:
        began = time.monotonic()
        answer = server.ask("/health")
        assert time.monotonic() - began < 3
        assert (answer.status, answer.document["state"]) == (503, "unknown")
        assert answer.document["error"] == "The state could not be found out."
        assert states(server) == {"agent": "ok", "orders": "unknown"}
        assert server.ask("/health?database=agent").status == 200
        assert "No answer came in 1 s." in server.ask("/").body
        assert 'database="orders"' not in server.ask("/metrics").body


def test_what_hangs_altogether_is_told_in_time(host: Host) -> None:
    (host.config / "all.hang").touch()
    with served.running(served.slow(host.config, 0.5)) as server, concurrent.futures.ThreadPoolExecutor(20) as pool:
        began = time.monotonic()
        answers = list(pool.map(lambda _: server.ask("/health"), range(20)))
        assert time.monotonic() - began < 6
        assert {(each.status, each.document["state"]) for each in answers} == {(503, "unknown")}
        assert server.ask("/metrics").status == 503
        assert "The state could not be found out" in server.ask("/").body


def test_asking_writes_nothing(host: Host, server: Server) -> None:
    """The service has a file system that is read-only."""
    host.add("orders")
    host.run("backup", "agent")
    before = {each: each.stat().st_mtime_ns for each in host.directory.rglob("*")}
    for target in ("/health", "/metrics", "/"):
        server.ask(target)
    assert {each: each.stat().st_mtime_ns for each in host.directory.rglob("*")} == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once(host: Host, number: int) -> None:
    with served.running(host.command("serve", "--listen", ANY)) as server, server.connect():
        server.ask("/health")
        began = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(timeout=10) == 0
        assert time.monotonic() - began < 2
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_nobody_stays_behind_when_it_is_killed(host: Host) -> None:
    with served.running(host.command("serve", "--listen", ANY)) as server:
        server.process.kill()
        server.process.wait(timeout=10)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                server.connect().close()
            except OSError:
                return
            time.sleep(0.1)
        pytest.fail("somebody still listens")


@pytest.mark.parametrize(
    "address", ["9187", "localhost", "127.0.0.1:x", "127.0.0.1:99999", "::1:80", "[::1", "a.b:1", ":1"]
)
def test_what_is_no_address_is_a_clear_error(host: Host, address: str) -> None:
    said = host.run("serve", "--listen", address)
    assert said.code == 2
    assert "it is no address" in said.err
    assert "Traceback" not in said.err


def test_address_that_cannot_be_had_is_a_clear_error(host: Host) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = host.run("serve", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert said.code == 2
    assert "Cannot listen on '127.0.0.1:" in said.err
    assert "in use" in said.err
    other = host.run("serve", "--listen", "192.0.2.1:9187")
    assert other.code == 2
    assert "Cannot listen on '192.0.2.1:9187'" in other.err


def test_names_are_not_taken(host: Host) -> None:
    said = host.run("serve", "agent")
    assert (said.code, "takes no name" in said.err) == (2, True)


def test_listens_on_ipv6(host: Host) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this host has no IPv6")
    with served.running(host.command("serve", "--reasons", "--listen", "[::1]:0")) as server:
        assert server.ask("/health").status == 503
        assert "There is no verified backup." in server.ask("/").body


def test_nobody_gets_a_reason_unless_that_is_wanted(host: Host) -> None:
    """A proxy on this host may pass on what strangers ask as if it were its own."""
    with served.running(host.command("serve", "--listen", ANY)) as server:
        page = server.ask("/").body
    assert "missed" in page
    assert "There is no verified backup." not in page


def test_all_addresses_get_no_reasons(host: Host) -> None:
    with served.running(host.command("serve", "--reasons", "--listen", "0.0.0.0:0")) as server:
        server.host = "127.0.0.1"
        assert "There is no verified backup." not in server.ask("/").body


def test_systemd_is_told_when_it_is_ready(host: Host, tmp_path: Path) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(place))
        told.settimeout(10)
        with served.running(host.command("serve", "--listen", ANY), env={**os.environ, "NOTIFY_SOCKET": str(place)}):
            assert told.recv(100) == b"READY=1"


def test_other_commands_load_no_server(host: Host) -> None:
    words: list[Any] = host.command("status")
    words[2] = words[2].replace("sys.exit(cli.main())", "cli.main(); sys.exit('http.server' in sys.modules)")
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
