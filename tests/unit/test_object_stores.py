# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Object stores: the same push and pull with each of them, and what each is told beyond that."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import include
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    TargetUnreachableError,
    UsageError,
)
from support import manifests, processes, proxy, servers
from support.offsite import Offsite
from support.proxy import Proxy
from support.servers import Server
from support.sites import Site

pytestmark = pytest.mark.thorough
STORES = {"azurite": servers.azurite, "gcs": servers.gcs, "moto, a mock": servers.moto, "rclone": servers.s3}


@pytest.fixture(params=STORES)
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    servers.use_rclone(monkeypatch)
    with STORES[request.param](tmp_path) as found:
        yield found


@pytest.fixture
def offsite(site: Site, server: Server) -> Offsite:
    site.stored()
    site.change()
    site.stored()
    return Offsite(site, server)


def test_repository_goes_and_comes_back(offsite: Offsite) -> None:
    planned = offsite.push(dry_run=True)
    outcome = offsite.push()
    assert outcome.transferred == planned.transferred
    assert [each["id"] for each in outcome.transferred] == offsite.site.ids()
    assert not offsite.push().changed
    offsite.site.change()
    new = offsite.site.stored().id
    assert [each["id"] for each in offsite.push().transferred] == [new]
    offsite.pull()
    assert offsite.here(offsite.other) == offsite.here()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    servers.use_rclone(monkeypatch)
    with servers.s3(tmp_path) as found:
        yield found


@pytest.fixture
def stored(site: Site, store: Server) -> Offsite:
    site.stored()
    return Offsite(site, store)


def head(server: Server, name: str) -> dict[str, str]:
    """What the mock says of an object; it wants a signature, and takes any."""
    host = server.target["options"]["endpoint"].partition("//")[2]
    signed = (
        f"AWS4-HMAC-SHA256 Credential={servers.KEY}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    )
    with contextlib.closing(http.client.HTTPConnection(host, timeout=10)) as connection:
        connection.request("HEAD", f"/backups/host/{name}", headers={"Authorization": signed})
        answer = connection.getresponse()
        assert answer.status == 200
        return {key.lower(): value for key, value in answer.getheaders()}


def test_lock_class_and_encryption_are_those_that_are_asked_for(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to a mock of S3, since nothing else here has Object Lock."""
    servers.use_rclone(monkeypatch)
    site.stored()
    with servers.moto(tmp_path) as server:
        offsite = Offsite(site, server)
        told = {
            **server.target["options"],
            "object_lock_mode": "GOVERNANCE",
            "object_lock_retain_until_date": "30d",
            "storage_class": "STANDARD_IA",
            "server_side_encryption": "aws:kms",
            "sse_kms_key_id": "arn:aws:kms:us-east-1:123456789012:key/example",
        }
        offsite.push(options=told)
        found = head(server, f"{site.ids()[0]}/manifest.json")
        assert found["x-amz-object-lock-mode"] == "GOVERNANCE"
        assert found["x-amz-object-lock-retain-until-date"] > "2026"
        assert found["x-amz-storage-class"] == "STANDARD_IA"
        assert found["x-amz-server-side-encryption"] == "aws:kms"
        assert found["x-amz-server-side-encryption-aws-kms-key-id"].endswith("key/example")
        assert not offsite.push(options=told).changed


@pytest.mark.parametrize("older", [False, True])
def test_option_that_this_rclone_does_not_know_is_refused(
    stored: Offsite, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    """A lock that is passed over silently would be missed when it is needed."""
    servers.use_rclone(monkeypatch, of_the_system=older)
    name = "object_lock_mode" if older else "object_lok_mode"
    with pytest.raises(UsageError, match=rf"{name} is not an option of s3 that rclone v1"):
        stored.push(options={**stored.server.target["options"], name: "GOVERNANCE"})
    assert stored.there() == {}


@pytest.mark.parametrize("wrong", ["secret_access_key", "access_key_id"])
def test_wrong_key_is_refused_at_once_and_not_told(stored: Offsite, tmp_path: Path, wrong: str) -> None:
    settings = {"access_key_id": servers.KEY, "secret_access_key": servers.SECRET, wrong: "another-one-than-before"}
    lines = "".join(f"{name} = {text}\n" for name, text in settings.items())
    credentials = servers.secret_file(tmp_path / "wrong", lines)
    with pytest.raises(TargetUnreachableError) as caught:
        stored.push(credentials_file=str(credentials), retries=5)
    assert "was refused" in caught.value.message
    assert "credentials_file" in caught.value.hint
    told = f"{caught.value} {stored.site.history()}"
    assert not any(secret in told for secret in settings.values())


def test_server_that_does_not_answer_is_named(stored: Offsite, store: Server) -> None:
    assert store.process is not None
    store.process.terminate()
    store.process.wait()
    with pytest.raises(TargetUnreachableError, match="rclone failed"):
        stored.push()


def test_revoked_key_in_the_middle_is_healed_by_a_new_one(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.use_rclone(monkeypatch)
    site.stored()
    with servers.s3(tmp_path) as server:
        Offsite(site, server).push()
        port = int(server.target["options"]["endpoint"].rsplit(":", 1)[1])
    site.change()
    new = site.stored().id
    with monkeypatch.context() as patched:
        patched.setattr(servers, "SECRET", "another-secret-since-today")
        with servers.s3(tmp_path, port=port) as server:
            renewed = (tmp_path / "s3.credentials").read_text()
            servers.secret_file(
                tmp_path / "s3.credentials", renewed.replace("another-secret-since-today", "the-old-one")
            )
            with pytest.raises(TargetUnreachableError, match="refused"):
                Offsite(site, server).push()
            servers.secret_file(tmp_path / "s3.credentials", renewed)
            assert [each["id"] for each in Offsite(site, server).push().transferred] == [new]


def test_nothing_secret_can_be_seen_while_a_push_goes_on(stored: Offsite) -> None:
    """Neither on a command line, which everybody can read, nor in an environment that others can."""
    command_lines: list[bytes] = []
    modes: set[int] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    line = (process / "cmdline").read_bytes()
                    if b"rclone" in line:
                        command_lines.append(line)
                        modes.add((process / "environ").stat().st_mode & 0o077)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        stored.push()
    finally:
        ended.set()
        watcher.join()
    ours = [line for line in command_lines if b"target:backups" in line]
    assert ours
    assert not any(servers.SECRET.encode() in line or servers.KEY.encode() in line for line in ours)
    assert modes == {0}


@pytest.fixture
def counted(stored: Offsite) -> Iterator[tuple[Offsite, Proxy]]:
    """A push through what counts."""
    options = stored.server.target["options"]
    with proxy.before(int(options["endpoint"].rsplit(":", 1)[1])) as between:
        target = {**stored.server.target, "options": {**options, "endpoint": f"http://127.0.0.1:{between.port}"}}
        stored.server = Server(target, stored.server.files, stored.server.log, stored.server.process)
        yield stored, between


def test_second_push_costs_one_listing_and_nothing_else(counted: tuple[Offsite, Proxy]) -> None:
    offsite, between = counted
    offsite.push()
    between.counted()
    assert not offsite.push().changed
    requests = between.counted()
    assert [each.is_listing for each in requests] == [True]
    assert requests[0].sent == 0


def test_new_backup_sends_its_own_bytes_and_no_more(counted: tuple[Offsite, Proxy]) -> None:
    offsite, between = counted
    offsite.push()
    offsite.site.change()
    offsite.site.stored()
    between.counted()
    outcome = offsite.push()
    requests = between.counted()
    (told,) = outcome.transferred
    assert sum(each.sent for each in requests) == told["bytes"]
    assert len([each for each in requests if each.is_listing]) == 1
    assert len([each for each in requests if each.method == "PUT"]) == told["files"]


def test_upload_that_is_cut_in_the_middle_is_healed_by_the_next(counted: tuple[Offsite, Proxy]) -> None:
    offsite, between = counted
    path = offsite.site.directory / "large.bin"
    path.write_bytes(os.urandom(3_000_000))
    included = include.Include(path)
    large = offsite.site.stored(force=True, type="full", compression="none", include=(included,)).id
    between.cut_after = 1_000_000
    with pytest.raises(TargetUnreachableError, match="rclone failed"):
        offsite.push()
    here = offsite.here()
    assert all(here[name] == content for name, content in offsite.there().items())
    assert f"{large}/manifest.json" not in offsite.there()
    between.cut_after = None
    offsite.push()
    assert offsite.there() == here


@processes.needs_root
@pytest.mark.parametrize("kind", ["file", "rclone"])
def test_full_target_is_told_and_healed(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    servers.use_rclone(monkeypatch)
    site.stored(compression="none")
    with processes.small_disk(400_000) as disk:
        files = disk / "host"
        if kind == "file":
            server = Server({"url": f"file://{files}"}, files, tmp_path / "log")
        else:
            servers.secret_file(tmp_path / "rclone.conf", f"[disk]\ntype = alias\nremote = {disk}\n")
            target = {"url": "rclone://disk/host", "credentials_file": str(tmp_path / "rclone.conf")}
            server = Server(target, files, tmp_path / "log")
        offsite = Offsite(site, server)
        filler = disk / "filler"
        filler.write_bytes(b"x" * 390_000)
        with pytest.raises(TargetUnreachableError) as caught:
            offsite.push()
        assert caught.value.hint == "The target is full: make room there."
        assert not list(files.glob("*/manifest.json"))
        filler.unlink()
        offsite.push()
        assert offsite.there() == offsite.here()


def test_five_hundred_backups_are_compared_in_one_listing(
    moment: list[datetime], counted: tuple[Offsite, Proxy]
) -> None:
    """Which S3 gives a thousand names at a time."""
    offsite, between = counted
    (first,) = offsite.site.ids()
    for hour in range(1, 500):
        began = moment[0] + timedelta(hours=hour)
        other = offsite.site.repository / f"{clock.to_stamp(began)}-full"
        shutil.copytree(offsite.site.repository / first, other)
        times = {"started": clock.to_text(began), "finished": clock.to_text(began)}
        manifests.rewrite(other / "manifest.json", id=other.name, sequence=hour + 1, **times)
    moment[0] = began
    shutil.copytree(
        offsite.site.repository, offsite.files, ignore=shutil.ignore_patterns(".*", "*.jsonl", "repository.json")
    )
    outcome = offsite.push()
    assert (outcome.changed, len(outcome.before)) == (False, 500)
    requests = between.counted()
    names = len(offsite.there())
    assert all(each.is_listing for each in requests)
    assert len(requests) == -(-names // 1000)
