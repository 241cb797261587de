# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of repository/audit.py, runner/audit.py and system/who.py: what is written down, and that it stays so."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import audit
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files, owners, places, who
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    RefusedError,
    RepositoryLockedError,
    StorageFailedError,
)
from support.hosts import Host


def lines(repository: Path) -> list[bytes]:
    return (repository / "history.jsonl").read_bytes().splitlines()


def rewrite(repository: Path, changed: list[bytes]) -> None:
    (repository / "history.jsonl").write_bytes(b"".join(each + b"\n" for each in changed))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A repository with five lines."""
    for number in range(5):
        audit.append(tmp_path, "backup", {"number": number})
    return tmp_path


def test_event_says_who_did_what(tmp_path: Path) -> None:
    audit.append(tmp_path, "prune", {"removed": ["a"]})
    (event,) = audit.events(tmp_path)
    known = {"sudo_user", "login", "from"}
    assert set(event) - known == {"time", "event", "user", "host", "pid", "previous", "removed"}
    assert (event["event"], event["removed"], event["previous"]) == ("prune", ["a"], "")


def test_user_without_a_name_does_not_stop_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container the user id often has no entry in /etc/passwd."""
    monkeypatch.setattr(owners, "name_of_user", lambda _number: "")
    who.describe.cache_clear()
    try:
        audit.append(tmp_path, "prune", {})
    finally:
        who.describe.cache_clear()
    assert audit.events(tmp_path)[0]["user"].isdigit()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system has no /proc")
@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"SSH_CONNECTION": "192.0.2.7 51234 192.0.2.1 22", "SUDO_USER": "ada"}, {"from": "192.0.2.7"}),
        ({"SSH_CONNECTION": "2001:db8::7 51234 2001:db8::1 22", "SUDO_USER": "ada"}, {"from": "2001:db8::7"}),
        ({"SSH_CONNECTION": "<b>not an address</b> 1", "SUDO_USER": "ada"}, {}),
        ({"INVOCATION_ID": "abc", "SUDO_USER": "ada"}, {"from": "systemd"}),
    ],
)
def test_who_came_from_elsewhere_is_told_also_behind_sudo(environment: dict[str, str], told: dict[str, str]) -> None:
    """Sudo takes SSH_CONNECTION away, as the inner process here has lost it."""
    module = who.__name__
    code = f"import json; from {module} import describe; print(json.dumps(describe()))"
    inner = f"import os, subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {code!r}], env=NEW))"
    given = {**{k: v for k, v in os.environ.items() if k not in ("SSH_CONNECTION", "INVOCATION_ID")}, **environment}
    left = {name: text for name, text in given.items() if name != "SSH_CONNECTION"}
    done = subprocess.run(
        [sys.executable, "-c", inner.replace("NEW", repr(left))], env=given, capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["sudo_user"] == "ada"
    assert {name: found[name] for name in ("from",) if name in found} == told


def test_line_that_is_no_event_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(b'5\n[]\n"backup"\nnull\n\xff\n{"event": "backup"}\n{"event"')
    assert audit.events(tmp_path) == [{"event": "backup"}]


def test_log_that_the_disk_does_not_give_or_take_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(places, "read_bytes", broken)
    with pytest.raises(StorageFailedError, match="Cannot read the audit log .*history.jsonl"):
        audit.events(tmp_path)
    monkeypatch.setattr(files, "append_to", broken)
    with pytest.raises(StorageFailedError, match="Cannot write the audit log .*history.jsonl"):
        audit.append(tmp_path, "prune", {})


def test_log_that_does_not_exist_has_no_events_and_is_whole(tmp_path: Path) -> None:
    assert audit.events(tmp_path) == []
    assert audit.examine(tmp_path) == audit.Chain()
    assert audit.continued(tmp_path) == audit.NOTHING


def test_each_line_has_the_digest_of_the_one_before_it(log: Path) -> None:
    written = lines(log)
    assert [json.loads(each)["previous"] for each in written] == ["", *map(audit.digest, written[:-1])]
    chain = audit.examine(log)
    assert (chain.lines, chain.bare, chain.torn, chain.breaks) == (5, 0, 0, [])


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a line is changed": lambda found: [*found[:2], found[2].replace(b'"number": 2', b'"number": 7'), *found[3:]],
    "a line is removed": lambda found: [*found[:2], *found[3:]],
    "the first line is removed": lambda found: found[1:],
    "a line is put in": lambda found: [*found[:2], b'{"event": "backup", "time": "x"}', *found[2:]],
    "a line is there twice": lambda found: [*found[:3], found[2], *found[3:]],
    "two lines change places": lambda found: [*found[:2], found[3], found[2], found[4]],
    "the log begins anew": lambda found: [*found, found[0]],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_shows(log: Path, change: str) -> None:
    rewrite(log, CHANGES[change](lines(log)))
    chain = audit.examine(log)
    assert chain.breaks, change
    assert "history.jsonl" in chain.breaks[0]


def test_what_is_taken_from_the_end_shows_to_who_knows_the_last_line(log: Path) -> None:
    known = audit.continued(log)
    assert known
    rewrite(log, lines(log)[:-2])
    assert audit.examine(log).breaks == []
    assert audit.examine(log, known).breaks == [audit.UNKNOWN]
    assert audit.continued(log, known) is None


def test_a_log_that_went_on_is_still_known(log: Path) -> None:
    known = audit.continued(log)
    audit.append(log, "prune", {})
    went_on = audit.continued(log, known or audit.NOTHING)
    assert went_on == audit.continued(log)
    assert went_on
    assert went_on.line == audit.digest(lines(log)[-1])
    changed = lines(log)
    rewrite(log, [*changed[:4], changed[4].replace(b"backup", b"nothing"), changed[5]])
    assert audit.continued(log, known or audit.NOTHING) is None


def test_what_is_before_a_line_that_was_cut_short_is_known_too(log: Path) -> None:
    with (log / "history.jsonl").open("ab") as file:
        file.write(b"garbage")
    audit.append(log, "backup", {})
    known = audit.continued(log)
    assert known
    rewrite(log, lines(log)[5:])
    assert audit.examine(log).breaks == []
    assert audit.examine(log, known).breaks == [audit.CHANGED]
    assert audit.examine(log, audit.Known(known.line)).breaks == []


def test_what_is_known_is_found_however_many_files_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit.append(tmp_path, "backup", {})
    known = audit.continued(tmp_path)
    assert known
    monkeypatch.setattr(audit, "LONGEST_BYTES", 1)
    for _each in range(4):
        audit.append(tmp_path, "prune", {})
    for each in (known, audit.Known(known.line)):
        assert audit.continued(tmp_path, each) == audit.continued(tmp_path)


def test_a_line_that_a_crash_cut_short_is_followed_as_it_is(log: Path) -> None:
    with (log / "history.jsonl").open("ab") as file:
        file.write(b'{"event": "bac')
    audit.append(log, "backup", {})
    chain = audit.examine(log)
    assert (chain.lines, chain.torn, chain.breaks) == (7, 1, [])


def test_lines_from_before_there_were_digests_stay_at_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"event": "backup", "time": "2025-12-30T12:00:00Z"}\n')
    audit.append(tmp_path, "backup", {})
    chain = audit.examine(tmp_path)
    assert (chain.lines, chain.bare, chain.breaks) == (2, 1, [])


def test_a_long_log_goes_on_in_a_new_file_and_no_line_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "LONGEST_BYTES", 1000)
    for number in range(30):
        audit.append(tmp_path, "backup", {"number": number})
    found = audit.parts(tmp_path)
    assert [each.name for each in found[:2]] == ["history.000001.jsonl", "history.000002.jsonl"]
    numbers = [json.loads(line)["number"] for each in found for line in each.read_bytes().splitlines()]
    assert numbers == [*range(30)]
    chain = audit.examine(tmp_path)
    assert (chain.lines, chain.breaks) == (30, [])
    assert [each["number"] for each in audit.events(tmp_path)][-1] == 29
    found[0].unlink()
    assert "though" not in audit.examine(tmp_path).breaks[0]


def test_a_kill_between_the_old_file_and_the_new_one_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.append(tmp_path, "backup", {})
    (tmp_path / "history.jsonl").rename(tmp_path / "history.000001.jsonl")
    assert len(audit.events(tmp_path)) == 1
    monkeypatch.setattr(audit, "LONGEST_BYTES", 10)
    for _each in range(3):
        audit.append(tmp_path, "backup", {})
    assert (audit.examine(tmp_path).lines, audit.examine(tmp_path).breaks) == (4, [])


def test_runs_at_the_same_time_make_one_chain(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from {audit.__name__.rpartition(".")[0]} import audit
audit.LONGEST_BYTES = 3000
for each in range(40):
    audit.append(Path(sys.argv[1]), "backup", {{}})
"""
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _each in range(4)]
    assert [each.wait() for each in workers] == [0, 0, 0, 0]
    chain = audit.examine(tmp_path)
    assert (chain.lines, chain.breaks) == (160, [])


def test_a_lock_that_somebody_holds_is_waited_for_in_bounded_time(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(audit, "_LOCK_SECONDS", 0.3)
    with (log / "history.jsonl").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RepositoryLockedError, match=r"history\.jsonl"):
            audit.append(log, "backup", {})
    assert len(lines(log)) == 5


def test_who_replaces_the_log_all_the_time_holds_nobody_for_long(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_LOCK_SECONDS", 0.3)
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    with pytest.raises(RefusedError, match=r"history\.jsonl.*replaced all the time"):
        audit.append(log, "backup", {})


# The runner.


def test_the_runner_says_whether_the_log_is_whole(host: Host) -> None:
    host.run("backup", "agent")
    host.run("verify", "agent")
    said = host.run("audit", "agent", "--last", "1")
    assert said.code == 0
    assert "2 lines from" in said.out
    assert "verify" in said.out
    found = host.run("audit", "agent", "--json").result["audit"]
    assert (found["lines"], found["breaks"], found["events"]) == (2, [], [])


def test_a_log_that_was_changed_fails_and_no_later_run_makes_it_good(host: Host) -> None:
    host.run("backup", "agent")
    host.run("verify", "agent")
    rewrite(host.repository(), lines(host.repository())[:1])
    said = host.run("audit", "agent")
    assert said.code == 17
    assert str(Path("seen.d", "agent.audit.json")) in said.err
    said = host.run("verify", "agent", "--level", "full")
    assert said.code == 0
    assert "sqlite-backup audit agent" in said.err
    assert host.run("audit", "agent").code == 17
    assert "audit log" in host.run("doctor", "agent").out
    (host.config / "seen.d" / "agent.audit.json").unlink()
    assert host.run("audit", "agent").code == 0
    assert "audit" not in host.run("verify", "agent").err


def test_every_event_goes_where_the_host_wants_it_too(host: Host) -> None:
    file = host.directory / "audit.jsonl"
    watch = host.config / "watch.json"
    watch.write_text(json.dumps({"audit": {"file": str(file)}}))
    watch.chmod(0o600)
    host.run("backup", "agent")
    host.run("pin", "agent", "--backup", "latest")
    found = [json.loads(each) for each in file.read_text().splitlines()]
    assert [each["event"] for each in found] == ["backup", "pin"]
    assert {each.pop("repository") for each in found} == {str(host.repository())}
    assert found == host.history()
    assert file.stat().st_mode & 0o777 == 0o600
    watch.unlink()
    host.run("unpin", "agent", "--backup", "latest")
    assert len(file.read_text().splitlines()) == 2


def test_an_event_that_gets_no_further_is_a_warning(host: Host) -> None:
    watch = host.config / "watch.json"
    watch.write_text(json.dumps({"audit": {"file": str(host.directory / "nowhere" / "audit.jsonl")}}))
    watch.chmod(0o600)
    said = host.run("backup", "agent")
    assert said.code == 0
    assert "the audit log has a line that did not get further" in said.err
    assert len(host.history()) == 1


def test_the_system_log_gets_every_event(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    syslog: Any = pytest.importorskip("syslog")
    heard: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda _level, text: heard.append(text))
    watch = host.config / "watch.json"
    watch.write_text(json.dumps({"audit": {"syslog": True}}))
    watch.chmod(0o600)
    host.run("backup", "agent")
    (text,) = heard
    assert text.startswith("audit {")
    assert json.loads(text[6:])["event"] == "backup"
