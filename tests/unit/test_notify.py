# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    ProgramMissingError,
    RefusedError,
    TargetUnreachableError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import notify
from support import receivers, servers, watched

RUN_ID = watched.run()["id"]
KEY = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def ping(url: str, *, headers_file: Path | None = None, seconds: float = 5, name: str = "agent", **run: Any) -> None:
    observation = watched.observation(name=name)
    notify.ping(url, observation, watched.run(**run), headers_file=headers_file, seconds=seconds)


def post(url: str, *, headers_file: Path | None = None, seconds: float = 5, details: bool = False) -> None:
    told = notify.content(watched.observation(), watched.run(), details=details)
    notify.webhook(url, watched.observation(), told, headers_file=headers_file, seconds=seconds)


FAILED = {"outcome": "failure", "code": 12, "class": "SourceCorruptError", "message": "secret /srv/x"}


# --- pings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "path"),
    [
        ({"phase": "start", "outcome": None}, f"/{KEY}/start?rid={RUN_ID}"),
        ({}, f"/{KEY}?rid={RUN_ID}"),
        (FAILED, f"/{KEY}/12?rid={RUN_ID}"),
    ],
    ids=["start", "success", "failure"],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_ping_is_as_healthchecks_documents_it(run: dict[str, Any], path: str, slash: str) -> None:
    with receivers.receiver() as receiver:
        ping(f"{receiver.url}/{KEY}{slash}", **run)
    assert receiver.asked == [f"GET {path}"]
    assert receiver.requests[0].headers["User-Agent"].startswith("sqlite-backup/")


def test_query_of_the_address_stays() -> None:
    """With create=1 Healthchecks makes a check that it does not know yet."""
    with receivers.receiver() as receiver:
        ping(f"{receiver.url}/key/agent?create=1", phase="start")
    assert receiver.asked == [f"GET /key/agent/start?create=1&rid={RUN_ID}"]


def test_database_and_host_are_put_into_the_address() -> None:
    with receivers.receiver() as receiver:
        ping(f"{receiver.url}/{{host}}/{{database}}", name="a b/../ü?#{host}")
    assert receiver.asked == [f"GET /ci-1/a%20b%2F..%2F%C3%BC%3F%23%7Bhost%7D?rid={RUN_ID}"]


# --- webhooks --------------------------------------------------------------------------------------------------------


def test_webhook_posts_what_came_of_a_run() -> None:
    with receivers.receiver() as receiver:
        post(f"{receiver.url}/hook")
    (request,) = receiver.requests
    assert (receiver.asked, request.headers["Content-Type"]) == (["POST /hook"], "application/json")
    told = request.document
    assert told.pop("time").endswith("Z")
    assert told == {
        "database": "agent",
        "host": "ci-1",
        "command": "backup",
        "phase": "end",
        "outcome": "success",
        "code": 0,
        "class": "",
        "state": "ok",
        "seconds": 1.2,
        "backup": "20251230T115900Z-full",
        "run": RUN_ID,
    }


def test_words_and_paths_are_told_only_when_asked_for() -> None:
    """A message may quote a path, a query or a value; a chat room is no place for them."""
    reasons = [{"state": "failing", "text": "secret /srv/y", "hint": "", "way": None}]
    observation = watched.observation(reasons=reasons, state="failing")
    run = watched.run(**FAILED)
    assert "secret" not in json.dumps(notify.content(observation, run, details=False))
    told = notify.content(observation, run, details=True)
    assert (told["message"], told["reasons"]) == ("secret /srv/x", ["secret /srv/y"])


def test_start_has_no_outcome() -> None:
    run = {"command": "backup", "phase": "start", "id": RUN_ID, "started": "2025-12-30T12:00:00Z"}
    told = notify.content({"name": "agent", "host": "ci-1"}, run, details=False)
    assert (told["phase"], told["outcome"], told["state"], told["code"]) == ("start", None, None, None)


def test_headers_come_from_a_private_file(tmp_path: Path) -> None:
    file = servers.secret_file(tmp_path / "headers", "# of the chat\nAuthorization: Bearer a:b c\nX-Team: ops\n\n")
    with receivers.receiver() as receiver:
        post(receiver.url, headers_file=file)
    assert receiver.requests[0].headers["Authorization"] == "Bearer a:b c"
    assert receiver.requests[0].headers["X-Team"] == "ops"


def test_headers_that_others_can_read_are_refused(tmp_path: Path) -> None:
    file = servers.secret_file(tmp_path / "headers", "A: b\n")
    file.chmod(0o644)
    with receivers.receiver() as receiver, pytest.raises(RefusedError, match="can be read by others"):
        post(receiver.url, headers_file=file)
    assert receiver.asked == []


@pytest.mark.parametrize("line", ["secret", "se cret: x", ": secret", "A: b\x00secret", "A: é secret", "A:"])
def test_what_is_no_header_is_an_error_that_does_not_quote_it(tmp_path: Path, line: str) -> None:
    file = servers.secret_file(tmp_path / "headers", f"Good: x\n{line}\n")
    with pytest.raises(UsageError, match=r"line 2 of the headers_file .* is not a header") as caught:
        post("http://127.0.0.1:1/", headers_file=file)
    assert "secret" not in str(caught.value)


# --- what keeps a receiver from hearing ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [400, 404, 429, 500, 503, 304])
@pytest.mark.parametrize("send", [ping, post])
def test_another_answer_than_success_is_an_error(send: Callable[[str], None], code: int) -> None:
    with receivers.receiver(receivers.status(code)) as receiver:
        with pytest.raises(TargetUnreachableError) as caught:
            send(f"{receiver.url}/secret?key=secret")
        assert f"{receiver.host} answered {code}." in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("code", [200, 201, 202, 204])
def test_every_success_is_one(code: int) -> None:
    with receivers.receiver(receivers.status(code)) as receiver:
        post(receiver.url)


@pytest.mark.parametrize("send", [ping, post])
def test_receiver_that_never_answers_is_given_up(send: Callable[..., None]) -> None:
    with receivers.receiver(receivers.never) as receiver, receivers.took(5):
        with pytest.raises(TargetUnreachableError, match=f"{receiver.host} did not answer within 0.2 s"):
            send(f"{receiver.url}/secret", seconds=0.2)


@pytest.mark.parametrize("send", [ping, post])
def test_receiver_that_is_down_is_an_error(send: Callable[[str], None]) -> None:
    port = servers.free_port()
    with pytest.raises(TargetUnreachableError, match=f"127.0.0.1:{port} could not be reached: connection refused") as e:
        send(f"http://127.0.0.1:{port}/secret")
    assert "secret" not in str(e.value)


def test_host_that_is_not_known_is_an_error() -> None:
    with pytest.raises(TargetUnreachableError, match="nowhere.invalid could not be reached"):
        ping("http://nowhere.invalid/secret")


def test_answer_that_is_no_http_is_an_error() -> None:
    with receivers.receiver(receivers.nonsense) as receiver:
        with pytest.raises(TargetUnreachableError, match=f"{receiver.host} did not answer as http asks for"):
            ping(f"{receiver.url}/secret")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/secret",
        "file:///etc/secret",
        "http:///secret",
        "host/secret",
        "http://host:port/secret",
        "http://[secret/",
        "http://secret:secret@host/",
    ],
)
def test_address_that_cannot_be_used_is_not_quoted(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        ping(url)
    assert "secret" not in str(caught.value)


def test_odd_path_is_not_quoted() -> None:
    with receivers.receiver() as receiver, pytest.raises(EngineError) as caught:
        ping(f"{receiver.url}/secret\x01 x")
    assert "secret" not in str(caught.value)


# --- redirects -------------------------------------------------------------------------------------------------------


def test_ping_follows_a_redirect_and_leaves_its_headers_behind(tmp_path: Path) -> None:
    """Where it leads to is for whoever answers to say; the token is not for that one."""
    file = servers.secret_file(tmp_path / "headers", "Authorization: Bearer secret\n")
    with receivers.receiver() as new, receivers.receiver(receivers.status(302, Location=f"{new.url}/new")) as old:
        ping(old.url, headers_file=file)
    assert new.asked == ["GET /new"]
    assert "Authorization" in old.requests[0].headers
    assert "Authorization" not in new.requests[0].headers


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_webhook_follows_none(code: int) -> None:
    """It would become a request without what is to be told, and look like success."""
    with receivers.receiver() as new, receivers.receiver(receivers.status(code, Location=new.url)) as old:
        with pytest.raises(TargetUnreachableError, match=f"answered {code}.*leads to another address"):
            post(old.url)
    assert new.asked == []


def test_redirects_in_a_circle_end() -> None:
    with receivers.receiver(receivers.status(302, Location="/again")) as receiver:
        with pytest.raises(TargetUnreachableError, match="answered 302"):
            ping(f"{receiver.url}/secret")
        assert len(receiver.requests) <= 4


def test_nothing_of_a_redirect_but_where_it_leads_is_read() -> None:
    with receivers.receiver() as new:
        given = threading.Event()

        def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", new.url)
            handler.end_headers()
            with contextlib.suppress(OSError):
                for _each in range(64):
                    handler.wfile.write(bytes(1 << 20))
                given.set()

        with receivers.receiver(endless) as old:
            ping(old.url)
        assert not given.is_set()
    assert len(new.requests) == 1


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/"])
def test_redirect_to_something_else_than_http_is_not_followed(where: str) -> None:
    with receivers.receiver(receivers.status(302, Location=where)) as receiver:
        with pytest.raises(TargetUnreachableError, match="answered 302"):
            ping(f"{receiver.url}/secret")


# --- TLS and proxies -------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return receivers.certificate(tmp_path)


def test_certificate_that_nobody_knows_is_an_error(certificate: Path) -> None:
    with receivers.receiver(certificate=certificate) as receiver:
        with pytest.raises(
            TargetUnreachableError, match=f"{receiver.host} is not known to be who it says: self.signed"
        ):
            ping(f"{receiver.url}/secret")
        assert receiver.asked == []


def test_certificate_that_is_known_is_fine(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with receivers.receiver(certificate=certificate) as receiver:
        ping(f"{receiver.url}/{KEY}")
    assert receiver.asked == [f"GET /{KEY}?rid={RUN_ID}"]


def test_no_redirect_leads_from_https_to_http(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with receivers.receiver() as plain:
        answer = receivers.status(302, Location=f"{plain.url}/secret")
        with receivers.receiver(answer, certificate=certificate) as receiver:
            with pytest.raises(TargetUnreachableError, match="answered 302"):
                ping(receiver.url)
        assert plain.asked == []


def test_proxy_of_the_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    with receivers.receiver() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        ping("http://nowhere.invalid/x")
        assert proxy.asked == [f"GET http://nowhere.invalid/x?rid={RUN_ID}"]


# --- commands --------------------------------------------------------------------------------------------------------


def tell(*words: str, seconds: float = 20) -> None:
    notify.command(words, notify.content(watched.observation(), watched.run(), details=False), seconds=seconds)


def test_command_hears_it_on_standard_input_and_by_its_environment(tmp_path: Path) -> None:
    code = (
        "import json, os, sys; mine = {k: v for k, v in os.environ.items() if k.startswith('SQLITE_BACKUP_')}; "
        "open(sys.argv[1], 'w').write(json.dumps([json.load(sys.stdin), mine, sys.argv[2]]))"
    )
    tell(sys.executable, "-c", code, str(tmp_path / "heard"), "$(touch x); {database}")
    told, mine, word = json.loads((tmp_path / "heard").read_text(encoding="utf-8"))
    assert (told["database"], told["code"], word) == ("agent", 0, "$(touch x); {database}")
    assert mine["SQLITE_BACKUP_DATABASE"] == "agent"
    assert mine["SQLITE_BACKUP_OUTCOME"] == "success"
    assert mine["SQLITE_BACKUP_CODE"] == "0"
    assert mine["SQLITE_BACKUP_RUN"] == RUN_ID


def test_what_a_command_prints_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output may be a JSON document."""
    tell("/bin/sh", "-c", "echo out; echo err >&2; cat")
    assert capfd.readouterr() == ("", "")


def test_command_that_reads_nothing_is_fine() -> None:
    tell("/bin/true")


def test_command_that_fails_is_an_error() -> None:
    with pytest.raises(EngineError, match="/bin/sh ended with the exit code 3"):
        tell("/bin/sh", "-c", "echo secret; exit 3")


def test_command_that_is_missing_or_no_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissingError, match=r"missing is not there"):
        tell(str(tmp_path / "missing"))
    (tmp_path / "text").write_text("text", encoding="utf-8")
    with pytest.raises(EngineError, match=r"cannot run .*text"):
        tell(str(tmp_path / "text"))


def test_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with receivers.took(10), pytest.raises(EngineError, match=r"did not end within 0.3 s, and was ended"):
        tell("/bin/sh", "-c", f"trap '' TERM; echo $$ > {pid}; while :; do :; done", seconds=0.3)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text(encoding="utf-8")), 0)
