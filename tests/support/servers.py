# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers that copies are pushed to, on loopback: each is stopped by the block that started it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_START_SECONDS = 20.0
# Of tests/requirements/test.txt; a distribution's own is often too old to serve S3.
RCLONE = shutil.which("rclone", path=os.path.dirname(sys.executable)) or "rclone"
KEY, SECRET = "AKIDEXAMPLEKEY", "a-secret-of-the-object-store"


@dataclass(frozen=True)
class Server:
    """Where a target is: values of the option ``target``, and the directory in which its files are."""

    target: dict[str, Any]
    files: Path
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, compare=False)

    def options(self, **changed: Any) -> dict[str, Any]:
        """All values of the option ``target``."""
        return {**defaults(), **self.target, **changed}


def defaults() -> dict[str, Any]:
    """What the option ``target`` has where nothing is said; short, since no test waits for a network."""
    return {
        "url": "",
        "credentials_file": None,
        "known_hosts": None,
        "options": {},
        "bandwidth": None,
        "retries": 0,
        "timeout": "2m",
        "require_encryption": False,
    }


def use_rclone(monkeypatch: pytest.MonkeyPatch, *, of_the_system: bool = False) -> None:
    """Let the engine find the rclone of these tests; ``of_the_system`` is the one that the distribution has."""
    here = os.path.dirname(sys.executable)
    path = [each for each in os.environ["PATH"].split(os.pathsep) if each != here]
    if of_the_system and shutil.which("rclone", path=os.pathsep.join(path)) is None:
        pytest.skip("the distribution's rclone is not installed")
    monkeypatch.setenv("PATH", os.pathsep.join([*path, here] if of_the_system else [here, *path]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(words: Sequence[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers at ``port`` when the block begins."""
    with log.open("ab") as output:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent)
    try:
        _await(process, port, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not answer: {log.read_text(errors='replace')[-2000:]}")


def secret_file(path: Path, text: str) -> Path:
    """A file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@contextlib.contextmanager
def s3(top: Path, *, bucket: str = "backups", port: int | None = None) -> Iterator[Server]:
    """Rclone's own server: it checks signatures, and knows multipart uploads."""
    port = port or free_port()
    files = top / "objects"
    (files / bucket).mkdir(parents=True, exist_ok=True)
    log = top / "s3.log"
    words = [RCLONE, "serve", "s3", "--config=", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}"]
    credentials = secret_file(top / "s3.credentials", f"access_key_id = {KEY}\nsecret_access_key = {SECRET}\n")
    target = {
        "url": f"s3://{bucket}/host",
        "credentials_file": str(credentials),
        "options": {"endpoint": f"http://127.0.0.1:{port}", "provider": "Other"},
    }
    with running([*words, "-vv", str(files)], port, log) as process:
        yield Server(target, files / bucket / "host", log, process)


@contextlib.contextmanager
def sshd(top: Path, *, restricted: str = "") -> Iterator[Server]:
    """OpenSSH's own, for the user who runs the tests; ``restricted`` are options of rrsync for the only key."""
    port = free_port()
    files = top / "received"
    files.mkdir(exist_ok=True)
    for name in ("host", "user"):
        if not (top / name).exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(top / name)], check=True)
    command = f'restrict,command="rrsync {restricted} {files}" ' if restricted else "restrict "
    (top / "authorized").write_text(command + (top / "user.pub").read_text())
    (top / "known").write_text(f"[127.0.0.1]:{port} {(top / 'host.pub').read_text()}")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": top / "host",
        "AuthorizedKeysFile": top / "authorized",
        "PidFile": "none",
        "UsePAM": "no",
        # The directories of the tests are below /tmp.
        "StrictModes": "no",
    }
    (top / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    log = top / "sshd.log"
    target = {
        "url": f"ssh://{os.environ.get('USER') or 'root'}@127.0.0.1:{port}{'' if restricted else files}/host",
        "credentials_file": str(top / "user"),
        "known_hosts": str(top / "known"),
    }
    sbin = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin") or "sshd"
    with running([sbin, "-D", "-e", "-f", str(top / "sshd_config")], port, log) as process:
        yield Server(target, files / "host", log, process)


@contextlib.contextmanager
def mounted(top: Path) -> Iterator[Server]:
    """A directory of another filesystem than that of the root directory: memory."""
    place = Path("/dev/shm") / f"sqlite-backup-test-{top.name}"  # noqa: S108 - it is mounted on every Linux
    place.mkdir()
    try:
        yield Server({"url": f"file://{place}/copies/host"}, place / "copies" / "host", top / "log")
    finally:
        shutil.rmtree(place)


@contextlib.contextmanager
def remote(top: Path) -> Iterator[Server]:
    """A remote of an rclone.conf of somebody's own."""
    files = top / "elsewhere"
    secret_file(top / "rclone.conf", f"[offsite]\ntype = alias\nremote = {files}\n")
    yield Server({"url": "rclone://offsite/host", "credentials_file": str(top / "rclone.conf")}, files / "host", top)


# Emulators, which `make test` puts there; without one its tests are skipped.
_STORES = Path(__file__).resolve().parents[2] / ".build" / "stores"


def store(*path: str) -> str:
    """A program, or a library, that was installed for tests."""
    found = _STORES.joinpath(*path)
    if not found.exists():
        pytest.skip(f"{found.name} is not installed: `make test` does that")
    return str(found)


@contextlib.contextmanager
def azurite(top: Path) -> Iterator[Server]:
    """Microsoft's own emulator of Azure Blob, with the account and key that everybody knows."""
    port = free_port()
    program = store("node_modules", ".bin", "azurite-blob")
    options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(top / "azurite")]
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    credentials = secret_file(top / "azure.credentials", f"account = {account}\nkey = {key}\n")
    target = {
        "url": "azblob://backups/host",
        "credentials_file": str(credentials),
        "options": {"endpoint": f"http://127.0.0.1:{port}/{account}"},
    }
    words = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), *options]
    with running(words, port, top / "azurite.log") as process:
        server = Server(target, top, top / "azurite.log", process)
        _make_place(server, "azureblob", {"account": account, "key": key})
        yield server


@contextlib.contextmanager
def gcs(top: Path) -> Iterator[Server]:
    """An emulator of Google Cloud Storage, for small files."""
    port = free_port()
    program = store("bin", "gcp-storage-emulator")
    words = [program, "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "--default-bucket", "backups"]
    target = {
        "url": "gs://backups/host",
        "options": {"endpoint": f"http://127.0.0.1:{port}/storage/v1/", "anonymous": True, "env_auth": False},
    }
    with running(words, port, top / "gcs.log") as process:
        yield Server(target, top, top / "gcs.log", process)


@contextlib.contextmanager
def moto(top: Path) -> Iterator[Server]:
    """A mock of S3 that knows Object Lock; it takes any secret."""
    port = free_port()
    words = [store("bin", "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    credentials = secret_file(top / "moto.credentials", f"access_key_id = {KEY}\nsecret_access_key = {SECRET}\n")
    target = {
        "url": "s3://backups/host",
        "credentials_file": str(credentials),
        "options": {"endpoint": f"http://127.0.0.1:{port}", "provider": "Other", "region": "us-east-1"},
    }
    with running(words, port, top / "moto.log") as process:
        server = Server(target, top, top / "moto.log", process)
        lock = {"bucket_object_lock_enabled": "true"}
        _make_place(server, "s3", {"access_key_id": KEY, "secret_access_key": SECRET, **lock})
        yield server


def _make_place(server: Server, kind: str, settings: dict[str, str]) -> None:
    """Make the bucket or the container."""
    told = {"type": kind, **settings, **server.target["options"]}
    environment = {f"RCLONE_CONFIG_PLACE_{name.upper()}": str(text) for name, text in told.items()}
    words = [RCLONE, "--config=", "mkdir", "place:backups"]
    subprocess.run(words, env={**os.environ, **environment}, check=True, capture_output=True)
