# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what it takes to send hourly backups to an object store, and print the tables.

    make benchmark-offsite SIZE=1G

The store is rclone's own S3 server on loopback; what stands before it counts the requests and the bytes. Each tool has
a database and a prefix to itself.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "support"))

import agent_db
import conditions
import live
import proxy
import report
import servers
from bench import GIBIBYTE, Bench, Plan, parse_size, tell
from bounds import MEBIBYTE, Bound
from live import LiveDatabase
from measure import RunFailedError
from offsite_tools import BUCKET, ENDPOINT, HOURS, KINDS, SHORT_NAMES, TARGET, Push, Uploading
from proxy import Proxy, Request
from results import SHARES, SMALL
from tools import missing_programs

MEASURED_HOURS = 3
PUT, LISTING, GET, HEAD, DELETE = METHODS = ("PUT, POST", "listings", "other GET", "HEAD", "DELETE")
SPACE_FACTOR = 8
USAGE_ERROR = 2


@dataclass(frozen=True)
class Traffic:
    """What one backup and its upload took; ``sent`` and ``received`` are bytes, without what HTTP adds to them."""

    sent: float
    received: float
    requests: dict[str, float]
    wall_seconds: float = 0.0
    upload_seconds: float | None = None

    def __add__(self, other: Traffic) -> Traffic:
        requests = {each: self.requests[each] + other.requests[each] for each in METHODS}
        return Traffic(self.sent + other.sent, self.received + other.received, requests)

    def times(self, count: int) -> Traffic:
        requests = {each: count * self.requests[each] for each in METHODS}
        return Traffic(count * self.sent, count * self.received, requests)


@dataclass
class Sent:
    """All of one tool: the first time, hours with changes, and one without; ``own_bytes`` of each hour's backup."""

    first: Traffic | None = None
    hours: list[Traffic] = field(default_factory=list)
    nothing: Traffic | None = None
    own_bytes: list[int] = field(default_factory=list)
    failure: str = "not measured"

    @property
    def hour(self) -> Traffic:
        """The medians."""

        def median(value: Callable[[Traffic], float]) -> float:
            return statistics.median(map(value, self.hours))

        uploads = [each.upload_seconds for each in self.hours if each.upload_seconds is not None]
        return Traffic(
            median(lambda each: each.sent),
            median(lambda each: each.received),
            {method: statistics.median(each.requests[method] for each in self.hours) for method in METHODS},
            median(lambda each: each.wall_seconds),
            statistics.median(uploads) if uploads else None,
        )


Measured = dict[type[Uploading], Sent]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what it takes to send hourly backups to an object store.")
    parser.add_argument("--size", type=parse_size, default=GIBIBYTE, help="of the database, such as 64M or 1G")
    parser.add_argument("--only", choices=SHORT_NAMES, nargs="+", default=[*SHORT_NAMES], help="the tools to measure")
    parser.add_argument("--document", type=Path, help="the file to put the tables into, between its two markers")
    parser.add_argument("--scratch", type=Path, default=conditions.ROOT / ".build", help="where to work")
    return parser.parse_args()


def traffic(requests: list[Request], wall_seconds: float, upload_seconds: float | None) -> Traffic:
    found = Counter(map(_method, requests))
    counts = {each: float(found[each]) for each in METHODS}
    sent, received = sum(each.sent for each in requests), sum(each.answered for each in requests)
    return Traffic(sent, received, counts, wall_seconds, upload_seconds)


def _method(request: Request) -> str:
    if request.is_listing:
        return LISTING
    return {"GET": GET, "HEAD": HEAD, "DELETE": DELETE}.get(request.method, PUT)


class _Run:
    """One tool: everything that it does."""

    def __init__(self, bench: Bench, counter: Proxy, kind: type[Uploading]) -> None:
        self._bench = bench
        self._counter = counter
        self._kind = kind
        self._folder = bench.folder / "tool"
        self.sent = Sent()

    def run(self) -> Sent:
        try:
            with closing(self._bench.open_copy(self._folder / "database", self._kind)) as database:
                self._measure_hours(database)
            self.sent.failure = ""
        except RunFailedError as error:
            self.sent.failure = str(error)
            tell(f"{self._kind.name} failed: {error}")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        return self.sent

    def _measure_hours(self, database: LiveDatabase) -> None:
        tool = self._bench.install(self._kind, database, self._folder / "tool")
        assert isinstance(tool, Uploading)
        self.sent.first = self._send(tool, database, "first")
        for hour in range(1, MEASURED_HOURS + 1):
            database.change(SHARES[SMALL])
            self.sent.hours.append(self._send(tool, database, f"hour {hour} of {MEASURED_HOURS}"))
        self.sent.nothing = self._send(tool, database, "nothing changed")

    def _send(self, tool: Uploading, database: LiveDatabase, when: str) -> Traffic:
        """Make the next backup, and send it."""
        self._counter.counted()
        samples = [self._bench.measure(tool, tool.backup(), database)]
        if self.sent.first is not None and samples[0].answer.get("type") == "full":
            raise RunFailedError("so small a database is backed up whole each hour; use a larger SIZE")
        upload = tool.upload()
        if upload is not None:
            samples.append(self._bench.measure(tool, upload, database))
        names = [each["id"] for each in samples[-1].answer.get("transferred", ())]
        self.sent.own_bytes.append(sum(live.folder_bytes(tool.repository / each) for each in names))
        seconds = [each.usage.wall_seconds for each in samples]
        found = traffic(self._counter.counted(), sum(seconds), seconds[1] if upload is not None else None)
        tell(f"{when}: {tool.name} {sum(seconds):.2f} s, {found.sent:,.0f} bytes in {sum(found.requests.values()):.0f}")
        return found


def month(kind: type[Uploading], sent: Sent) -> Traffic:
    """Of hourly backups: as often as the tool sends the whole, the first time again; an hour for all others."""
    assert sent.first is not None
    if kind.wholes == HOURS:
        return sent.hour.times(HOURS)
    return sent.first.times(kind.wholes) + sent.hour.times(HOURS - kind.wholes)


def bounds(sent: Sent) -> list[Bound]:
    """An hour takes its own bytes and one listing, and one without changes the listing alone."""
    rows = (
        ("push of an hourly incremental, bytes sent", "those of the backup's files"),
        ("push of an hourly incremental, listings", "1"),
        ("push when nothing changed", "1 listing, no other request, no byte"),
    )
    if sent.first is None or sent.nothing is None or sent.failure:
        return [Bound(what, bound, sent.failure or "not measured") for what, bound in rows]
    pairs = list(zip((each.sent for each in sent.hours), sent.own_bytes[1:]))
    listings = [each.requests[LISTING] for each in sent.hours]
    all_requests = sum(sent.nothing.requests.values())
    nothing = (sent.nothing.requests[LISTING], all_requests - sent.nothing.requests[LISTING], sent.nothing.sent)
    measured = (
        ("; ".join(f"{there:,.0f} of {own:,}" for there, own in pairs), all(there == own for there, own in pairs)),
        (", ".join(f"{each:.0f}" for each in listings), {*listings} == {1}),
        (", ".join(f"{each:,.0f}" for each in nothing), nothing == (1, 0, 0)),
    )
    return [Bound(*row, *found) for row, found in zip(rows, measured)]


_BYTES_COLUMNS = (
    "tool",
    "first upload, MiB",
    "an hour, bytes",
    "this ÷ ours",
    "nothing changed, bytes",
    "an hour, wall, s",
    "of it the upload alone, s",
)
_REQUESTS_COLUMNS = ("tool", "when", *METHODS, "bytes received")
_MONTH_COLUMNS = ("tool", "what is sent", "sent, GiB", "received, MiB", *METHODS)


def render(measured: Measured, facts: dict[str, str], left_out: dict[type[Uploading], str]) -> str:
    done = {kind: sent for kind, sent in measured.items() if not sent.failure}
    rows = [[each.what, each.bound, each.measured, each.verdict] for each in bounds(measured.get(Push, Sent()))]
    absent = {kind: f" Failed: {sent.failure}." for kind, sent in measured.items() if sent.failure}
    absent.update({kind: f" Left out: {why}." for kind, why in left_out.items()})
    about = [f"- **{kind.name}**: {kind.about}.{absent.get(kind, '')}" for kind in KINDS]
    parts = [
        report.table(["condition", ""], [[name, value] for name, value in facts.items()]),
        *report.section("Bytes and time", list(_bytes(done)), _BYTES_COLUMNS),
        *report.section("Requests", list(_requests(done)), _REQUESTS_COLUMNS),
        *report.section("Bounds of a push", rows, ("what", "bound", "measured", "")),
        *report.section(f"A month of {HOURS} hourly backups, computed", list(_months(done)), _MONTH_COLUMNS),
    ]
    return "\n\n".join([*parts, "### The tools that upload", "\n".join(about)])


def _bytes(done: Measured) -> Iterator[list[str]]:
    for kind, sent in done.items():
        assert sent.first is not None
        assert sent.nothing is not None
        hour = sent.hour
        ours = done[Push].hour.sent if Push in done else 0
        ratio = f"{hour.sent / ours:,.1f}" if ours and kind is not Push else ""
        sizes = (f"{sent.first.sent / MEBIBYTE:,.2f}", f"{hour.sent:,.0f}", ratio, f"{sent.nothing.sent:,.0f}")
        upload = "" if hour.upload_seconds is None else f"{hour.upload_seconds:.2f}"
        yield [kind.name, *sizes, f"{hour.wall_seconds:.2f}", upload]


def _requests(done: Measured) -> Iterator[list[str]]:
    for kind, sent in done.items():
        for when, found in (("first upload", sent.first), ("an hour", sent.hour), ("nothing changed", sent.nothing)):
            assert found is not None
            yield [kind.name, when, *_counts(found), f"{found.received:,.0f}"]


def _months(done: Measured) -> Iterator[list[str]]:
    for kind, sent in done.items():
        found = month(kind, sent)
        sizes = (f"{found.sent / GIBIBYTE:,.2f}", f"{found.received / MEBIBYTE:,.2f}")
        yield [kind.name, kind.month, *sizes, *_counts(found)]


def _counts(found: Traffic) -> list[str]:
    return [f"{found.requests[each]:,.0f}" for each in METHODS]


def _facts(bench: Bench) -> dict[str, str]:
    """The conditions; the database is there already."""
    pages = bench.pristine.stat().st_size // live.PAGE_BYTES
    size = f"{pages * live.PAGE_BYTES / MEBIBYTE:,.0f} MiB, {pages:,} pages of {live.PAGE_BYTES} bytes"
    change = live.measure_changes(bench.pristine, bench.folder / "changes", (SHARES[SMALL],))[SHARES[SMALL]]
    return {
        **conditions.machine(bench),
        "database": f"{size}, as of a service that uses Prisma (tests/support/agent_db.py), journal mode WAL, open and"
        " idle while it is backed up",
        "an hour": f"after commits that changed {100 * SHARES[SMALL]} % of the pages, all over the file; medians of"
        f" {MEASURED_HOURS}. The first such change: {change.pages:,} pages, {change.compressed_bytes:,} bytes by"
        " `zstd -3`",
        "store": "`rclone serve s3` with signatures checked, on the same disk and the same cores, behind a proxy that"
        " counts, in plain HTTP on loopback: wall times are to be compared with each other only",
    }


def _measure_all(bench: Bench, kinds: tuple[type[Uploading], ...]) -> Measured:
    with servers.s3(bench.folder, bucket=BUCKET) as server, proxy.before(_port(server)) as counter:
        endpoint = f"http://127.0.0.1:{counter.port}"
        place = {"url": f"s3://{BUCKET}/push", "options": {**server.target["options"], "endpoint": endpoint}}
        target = bench.folder / "target.json"
        target.write_text(json.dumps(server.options(**place)), encoding="utf-8")
        os.environ.update({ENDPOINT: endpoint, TARGET: str(target)})
        return {kind: _Run(bench, counter, kind).run() for kind in kinds}


def _port(server: servers.Server) -> int:
    return int(server.target["options"]["endpoint"].rsplit(":", 1)[1])


def _prepare_environment() -> None:
    """Of AWS only what is needed here; and programs that come as Python packages before those of the system."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update({"AWS_ACCESS_KEY_ID": servers.KEY, "AWS_SECRET_ACCESS_KEY": servers.SECRET})
    os.environ.update({"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"})
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]


def main() -> int:
    options = _arguments()
    _prepare_environment()
    left_out = {kind: "not asked for" for name, kind in SHORT_NAMES.items() if name not in options.only}
    missing = {kind: missing_programs(kind) for kind in KINDS if kind not in left_out}
    left_out.update({kind: f"{programs[0]} is not installed" for kind, programs in missing.items() if programs})
    kinds = tuple(kind for kind in KINDS if kind not in left_out)
    options.scratch.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(options.scratch).free < SPACE_FACTOR * options.size:
        tell(f"{options.scratch} has not {SPACE_FACTOR * options.size >> 20} MiB free; use --scratch or a smaller SIZE")
        return USAGE_ERROR
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=os.path.realpath(options.scratch)) as folder:
        bench = Bench(Path(folder), Plan(options.size, options.size, 1, MEASURED_HOURS, 0, 0, (), kinds, ()))
        tell(f"making a database of {options.size >> 20} MiB")
        agent_db.fill_to(bench.pristine, options.size, page_size=live.PAGE_BYTES)
        facts = _facts(bench)
        measured = _measure_all(bench, kinds)
    text = render(measured, facts, left_out)
    print(text)
    if options.document:
        report.write_into(options.document, text, part="offsite")
    return 0


if __name__ == "__main__":
    sys.exit(main())
