# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A collector of OpenTelemetry on loopback: what it is sent is decoded with the project's own protobuf."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PYTHON = Path(__file__).resolve().parents[2] / ".build" / "otlp" / "bin" / "python"
"""One that has the SDK, of tests/requirements/otlp.txt."""

needs_sdk = pytest.mark.skipif(not PYTHON.exists(), reason="needs .build/otlp, which `make test` makes")

_SERVER = """
import http.server, json, os, sys, time
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

answer = sys.argv[1]
kinds = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        found = {"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}}
        if self.path in kinds:
            found["body"] = MessageToDict(kinds[self.path].FromString(body))
        # In one piece: another request may come at the same time.
        os.write(1, json.dumps(found).encode() + b"\\n")
        if answer == "hang":
            time.sleep(600)
        self.send_response(int(answer))
        if answer == "302":
            self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class Collector:
    """``url`` is the endpoint."""

    url: str
    log: Path

    def received(self, path: str) -> list[dict[str, Any]]:
        """What came to ``path``, oldest first."""
        found = [json.loads(each) for each in self.log.read_text(encoding="utf-8").splitlines()[1:]]
        return [each for each in found if each["path"] == path]


@contextlib.contextmanager
def running(directory: Path, answer: str = "200") -> Iterator[Collector]:
    """One that answers with this status for the block; with ``hang``, never."""
    log = directory / "collector.log"
    with log.open("wb") as out, subprocess.Popen([PYTHON, "-c", _SERVER, answer], stdout=out) as process:
        try:
            while not (found := log.read_bytes()).endswith(b"\n"):
                assert process.poll() is None
            yield Collector(f"http://127.0.0.1:{int(found)}", log)
        finally:
            process.kill()
