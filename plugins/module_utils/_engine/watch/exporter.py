# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In a process of its own, of a Python that has the SDK of OpenTelemetry: send one run and its metrics by OTLP/HTTP.

What to send is one line of JSON on standard input, what became of it is one on standard output. The SDK is loaded
before the line is there: that takes longer than all the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

_SCOPE = "sqliteops.backup"
# What Prometheus calls by a word: https://ucum.org/ucum, as OpenTelemetry wants it.
_UNITS = {"seconds": "s", "bytes": "By"}
# For the last words of the SDK; then nobody waits any more.
_GRACE_SECONDS = 5.0
# The SDK reads an answer as long as it is; what is more than this ends this process, and nothing else.
_MOST_BYTES = 1 << 30


def main() -> None:
    """Load the SDK, wait for a request, send it, answer; or end with standard input, whatever became of the parent."""
    _bound_memory()
    missing = _lack()
    line = sys.stdin.readline()
    if not line:
        return
    request = json.loads(line)
    # The SDK keeps to its timeout; a name server that never answers does not.
    last = threading.Timer(request["timeout_seconds"] + _GRACE_SECONDS, os._exit, (1,))
    last.daemon = True
    last.start()
    answer = {"missing": missing} if missing else {"wrong": _sent(request)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _bound_memory() -> None:
    """Where the system can: a collector may answer without an end."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _now, most = resource.getrlimit(resource.RLIMIT_AS)
        most = _MOST_BYTES if most == resource.RLIM_INFINITY else min(most, _MOST_BYTES)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _lack() -> str:
    """What this Python lacks; empty when it has all."""
    try:
        import requests  # noqa: F401
        from opentelemetry.exporter.otlp.proto.http import metric_exporter, trace_exporter  # noqa: F401
        from opentelemetry.sdk.metrics import export  # noqa: F401
        from opentelemetry.sdk.trace.export import in_memory_span_exporter  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


def _sent(request: Mapping[str, Any]) -> str:
    """Send metrics and trace at the same time; what went wrong, empty when all was taken."""
    wrong: dict[str, str] = {}

    def attempt(kind: str) -> None:
        try:
            wrong[kind] = _KINDS[kind](request)
        except Exception as error:  # noqa: BLE001 - it is told to the parent
            wrong[kind] = type(error).__name__

    threads = [threading.Thread(target=attempt, args=(kind,), daemon=True) for kind in _KINDS]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return next(filter(None, wrong.values()), "")


class _Session:
    """What the exporter sends with: the run waits for it. ``said`` is what was wrong last, empty when all was taken."""

    def __new__(cls) -> Any:
        import requests

        class Session(requests.Session):  # type: ignore[misc]
            said = "nothing was sent"

            def request(self, *args: Any, **more: Any) -> Any:
                try:
                    answer = super().request(*args, **more)
                except requests.RequestException as error:
                    self.said = _REASONS.get(type(error).__name__, type(error).__name__)
                    # Not one that the SDK would try again.
                    raise RuntimeError(self.said) from None
                # The SDK is content with a redirection, which it does not follow.
                self.said = "" if answer.ok and not answer.is_redirect else f"it answers with {answer.status_code}"
                return answer

        return Session()


_REASONS = {
    "ConnectionError": "it cannot be reached",
    "ConnectTimeout": "it cannot be reached in time",
    "ReadTimeout": "it does not answer in time",
    "SSLError": "its certificate is not trusted here",
}


def _options(request: Mapping[str, Any], path: str, session: Any) -> dict[str, Any]:
    return {
        "endpoint": f"{request['endpoint'].rstrip('/')}/v1/{path}",
        "headers": request["headers"],
        "timeout": request["timeout_seconds"],
        "session": session,
    }


def _resource(request: Mapping[str, Any]) -> Any:
    from opentelemetry.sdk.resources import Resource

    return Resource.create(request["resource"])


def _metrics(request: Mapping[str, Any]) -> str:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import export
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    session = _Session()
    found = [_metric(each, request) for each in request["families"]]
    scope = InstrumentationScope(_SCOPE, request["resource"]["service.version"])
    within = export.ScopeMetrics(scope, found, "")
    data = export.MetricsData([export.ResourceMetrics(_resource(request), [within], "")])
    OTLPMetricExporter(**_options(request, "metrics", session)).export(data)
    return str(session.said)


def _metric(family: Mapping[str, Any], request: Mapping[str, Any]) -> Any:
    from opentelemetry.sdk.metrics import export

    counts = family["kind"] == "counter"
    start, now = (request["counted_since"] if counts else 0), request["time"]
    points = [export.NumberDataPoint(each["labels"], start, now, each["value"]) for each in family["samples"]]
    data: Any = export.Gauge(points)
    if counts:
        data = export.Sum(points, export.AggregationTemporality.CUMULATIVE, is_monotonic=True)
    return export.Metric(family["name"], family["help"], _UNITS.get(family["unit"], "1"), data)


def _trace(request: Mapping[str, Any]) -> str:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    session = _Session()
    OTLPSpanExporter(**_options(request, "traces", session)).export(_spans(request))
    return str(session.said)


def _spans(request: Mapping[str, Any]) -> Any:
    """The run, and in it its phases, one behind the other."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    ended, run = InMemorySpanExporter(), request["run"]
    provider = TracerProvider(resource=_resource(request), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ended))
    tracer = provider.get_tracer(_SCOPE, request["resource"]["service.version"])
    root = tracer.start_span(run["name"], start_time=run["start"], attributes=run["attributes"])
    for phase in run["phases"]:
        within = trace.set_span_in_context(root)
        tracer.start_span(phase["name"], context=within, start_time=phase["start"]).end(phase["end"])
    code = trace.StatusCode.ERROR if run["wrong"] else trace.StatusCode.OK
    root.set_status(trace.Status(code, run["wrong"] or None))
    root.end(run["end"])
    return ended.get_finished_spans()


_KINDS = {"metrics": _metrics, "traces": _trace}
