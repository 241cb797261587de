# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beside the image: a Prisma schema that is looked for, figures, logs; what may be missing and is, is a warning."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import include, inclusion
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    RefusedError,
    TargetUnreachableError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, included, restore
from support import keys, limits, receivers
from support.sites import Site

SCHEMA = "model AgentRun {}\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "srv").mkdir()
    site = Site(tmp_path / "srv")
    site.repository = tmp_path / "repository"
    return site


def asked(**given: Any) -> tuple[include.Include, ...]:
    return include.requested([given])


def back_up(site: Site, **given: Any) -> backup.Outcome:
    return site.back_up(include=asked(**given))


def stored(outcome: backup.Outcome) -> dict[str, bytes]:
    assert outcome.backup is not None
    files = outcome.backup.path / "files"
    return {str(each.relative_to(files)): each.read_bytes() for each in sorted(files.rglob("*")) if each.is_file()}


# --- what is asked for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "it needs src"),
        ({"kind": "logs"}, "it needs src"),
        ({"kind": "metrics"}, "it needs src, or metrics url"),
        ({"kind": "metrics", "src": "/a", "url": "http://h/"}, "src, or metrics url"),
        ({"src": "/a", "url": "http://h/"}, "src, or metrics url"),
        ({"url": "http://h/"}, "url is for the kind metrics"),
        ({"kind": "logs", "src": "/a/*.log", "redact": True}, "redact is for the kind file"),
        ({"kind": "logs", "src": "/a/*/b.log"}, "only the last part"),
        ({"src": "/a", "limit_mib": 0}, "limit_mib is 0"),
        ({"src": "/a", "name": "../b"}, "relative name"),
        ({"kind": "logs", "src": "/a", "name": "/b"}, "relative name"),
        ({"kind": "metrics", "url": "ftp://h/"}, "names no host"),
        ({"kind": "metrics", "url": "http://me:hunter2@h/"}, "holds a password"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError) as caught:
        included.check(asked(**given))
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_files_are_required_and_all_else_may_be_missing() -> None:
    kinds = [{"src": "/a"}, *({"kind": each, "src": "/a"} for each in ("prisma_schema", "metrics", "logs"))]
    assert [each.required for each in include.requested(kinds)] == [True, False, False, False]
    assert not asked(src="/a", required=False)[0].required
    assert asked(src="/a", kind="logs", required=True)[0].required


@pytest.mark.parametrize(
    "given",
    [
        {"src": "gone"},
        {"kind": "prisma_schema"},
        {"kind": "prisma_schema", "src": "gone"},
        {"kind": "metrics", "src": "gone"},
        {"kind": "metrics", "url": "http://127.0.0.1:1/"},
        {"kind": "logs", "src": "*.log"},
    ],
)
def test_missing_part_is_a_warning_and_a_required_one_an_error(site: Site, given: dict[str, Any]) -> None:
    if "src" in given:
        given = {**given, "src": str(site.directory / given["src"])}
    with pytest.raises(EngineError) as caught:
        back_up(site, **given, required=True)
    assert caught.value.code in (10, 21)
    dry = site.back_up(include=asked(**given, required=False), dry_run=True)
    outcome = back_up(site, **given, required=False)
    assert outcome.changed
    for each in (dry, outcome):
        assert [text.partition(":")[0] for text in each.warnings] == ["not included"]
    assert not back_up(site, **given, required=False).changed


def test_optional_file_that_is_too_long_is_left_out(site: Site) -> None:
    (site.directory / "long").write_bytes(b"x" * (1024 * 1024 + 1))
    outcome = back_up(site, src=str(site.directory / "long"), required=False, limit_mib=1)
    assert "has more than 1.0 MiB" in outcome.warnings[0]
    with pytest.raises(UsageError, match=r"more than 1.0 MiB. Raise limit_mib"):
        back_up(site, src=str(site.directory / "long"), limit_mib=1)


# --- the Prisma schema ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["schema.prisma"], ["schema.prisma"]),
        (["prisma/schema.prisma"], ["schema.prisma"]),
        (
            ["prisma/schema/a.prisma", "prisma/schema/deep/b.prisma", "prisma/schema/c.sql"],
            ["schema/a.prisma", "schema/deep/b.prisma"],
        ),
        (["schema.prisma", "prisma/schema.prisma"], ["schema.prisma"]),
        (["schema.prisma", "models/a.prisma"], ["schema.prisma"]),
        (["prisma/schema.prisma", "prisma/migrations/1/migration.sql", "prisma/seed.ts"], ["schema.prisma"]),
        (
            ["prisma/schema.prisma", "prisma/models/a.prisma", "prisma/b.prisma", "prisma/migrations/1/x.prisma"],
            ["prisma/b.prisma", "prisma/models/a.prisma", "prisma/schema.prisma"],
        ),
        (["prisma/main.prisma", "prisma/models/a.prisma"], ["prisma/main.prisma", "prisma/models/a.prisma"]),
    ],
)
def test_schema_is_found_beside_the_database(site: Site, files: list[str], names: list[str]) -> None:
    for each in files:
        (site.directory / each).parent.mkdir(parents=True, exist_ok=True)
        (site.directory / each).write_text(SCHEMA + each)
    outcome = back_up(site, kind="prisma_schema")
    found = stored(outcome)
    assert [*found] == names
    assert all(found[name].decode().endswith(f"/{name}".rpartition("/")[2]) for name in names)
    assert outcome.warnings == []
    assert not back_up(site, kind="prisma_schema").changed


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["schema.prisma"], ["schema.prisma"]),
        (["schema.prisma", "models/a.prisma"], ["prisma/models/a.prisma", "prisma/schema.prisma"]),
        (["main.prisma", "models/a.prisma"], ["prisma/main.prisma", "prisma/models/a.prisma"]),
        (["schema/a.prisma", "schema/b.prisma"], ["prisma/schema/a.prisma", "prisma/schema/b.prisma"]),
    ],
)
def test_schema_is_found_around_a_database_that_lies_in_it(tmp_path: Path, files: list[str], names: list[str]) -> None:
    """As ``file:./dev.db`` in the schema has it."""
    (tmp_path / "prisma").mkdir()
    site = Site(tmp_path / "prisma")
    site.repository = tmp_path / "repository"
    for each in files:
        (site.directory / each).parent.mkdir(exist_ok=True)
        (site.directory / each).write_text(SCHEMA + each)
    assert [*stored(back_up(site, kind="prisma_schema", required=True))] == names
    for each in files:
        (site.directory / each).unlink()
    restore.run(restore.Request(site.repository, dest=site.database, with_files=True, force=True))
    assert {each: (site.directory / each).read_text() for each in files} == {each: SCHEMA + each for each in files}


def test_schema_that_is_a_link_has_its_models_beside_it(site: Site) -> None:
    (site.directory / "prisma" / "models").mkdir(parents=True)
    (site.directory / "shared.prisma").write_text(SCHEMA)
    (site.directory / "prisma" / "schema.prisma").symlink_to(site.directory / "shared.prisma")
    (site.directory / "prisma" / "models" / "a.prisma").write_text(SCHEMA * 2)
    (site.directory / "prisma" / "models" / "b.prisma").symlink_to(site.directory / "shared.prisma")
    expected = {"prisma/models/a.prisma": SCHEMA * 2, "prisma/schema.prisma": SCHEMA}
    assert stored(back_up(site, kind="prisma_schema")) == {name: text.encode() for name, text in expected.items()}


def test_schema_is_looked_for_among_so_many_names(site: Site) -> None:
    for number in range(101):
        (site.directory / "prisma" / "node_modules" / str(number)).mkdir(parents=True)
    (site.directory / "prisma" / "schema.prisma").write_text(SCHEMA)
    (site.directory / "prisma" / "b.prisma").write_text(SCHEMA)
    assert len(stored(back_up(site, kind="prisma_schema"))) == 2
    for number in range(100):
        (site.directory / "prisma" / str(number)).mkdir()
        for each in range(100):
            (site.directory / "prisma" / str(number) / str(each)).touch()
    with pytest.raises(RefusedError, match=r"there are more than 10000 names below .*prisma"):
        back_up(site, kind="prisma_schema", required=True)
    named = back_up(site, kind="prisma_schema", src=str(site.directory / "prisma" / "schema.prisma"))
    assert [*stored(named)] == ["schema.prisma"]


def test_schema_that_changed_is_a_reason_for_a_backup_and_goes_back_to_its_place(site: Site) -> None:
    schema = site.directory / "prisma" / "schema.prisma"
    schema.parent.mkdir()
    schema.write_text(SCHEMA)
    back_up(site, kind="prisma_schema", name="model")
    schema.write_text(SCHEMA * 2)
    assert back_up(site, kind="prisma_schema", name="model").changed
    schema.unlink()
    request = restore.Request(site.repository, dest=site.database, with_files=True, force=True)
    restore.run(request)
    assert schema.read_text() == SCHEMA * 2


# --- figures -------------------------------------------------------------------------------------------------------


def test_figures_are_stored_and_are_no_reason_for_a_backup(site: Site) -> None:
    with receivers.receiver() as receiver:
        given = {"kind": "metrics", "url": f"{receiver.url}/metrics?token=hunter2"}
        first = back_up(site, **given)
        assert stored(first) == {"metrics.txt": b"OK"}
        assert receiver.asked == ["GET /metrics?token=hunter2"]
        assert first.backup is not None
        assert "hunter2" not in (first.backup.path / "manifest.json").read_text()
        (origin,) = first.backup.trusted().origins
        assert (origin.kind, origin.source) == ("metrics", receiver.host)
    assert not back_up(site, **given).changed
    file = site.directory / "metrics.prom"
    file.write_text("a 1\n")
    site.change()
    assert stored(back_up(site, kind="metrics", src=str(file))) == {"metrics.prom": b"a 1\n"}
    file.write_text("a 2\n")
    assert not back_up(site, kind="metrics", src=str(file)).changed


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (receivers.status(302, Location="http://127.0.0.1:1/elsewhere"), "answered 302"),
        (receivers.status(301, Location="/metrics/"), "answered 301"),
        (receivers.status(500), "answered 500"),
        (receivers.never, "did not answer within"),
        (receivers.trickle, "did not answer within 1 s"),
        (receivers.trickled_head, "did not answer within 1 s"),
        (receivers.cut, "did not send all"),
        (receivers.endless, "answers with more than 1.0 MiB"),
        (receivers.nonsense, "did not answer as http asks for"),
    ],
)
def test_answer_that_is_none_is_an_error_in_time(answer: receivers.Answer, why: str, site: Site) -> None:
    with receivers.receiver(answer) as receiver:
        given = {"kind": "metrics", "url": f"{receiver.url}/?token=hunter2", "limit_mib": 1, "timeout": "1s"}
        wanted = asked(**given, required=True)
        with limits.within(20), pytest.raises(TargetUnreachableError, match=why) as caught:
            included.gather(wanted, source=site.database, deadline=Deadline(None))
    assert "hunter2" not in str(caught.value)


# --- logs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["none", "age"])
def test_logs_go_with_every_stored_backup_and_come_back_only_where_somebody_says(tmp_path: Path, scheme: str) -> None:
    directory = tmp_path / "srv"
    directory.mkdir()
    site = Site(directory)
    site.repository = tmp_path / "repository"
    encryption, opening = keys.scheme(scheme)
    log = directory / "app.log"
    log.write_text("one\n" * 1000)
    given = {"include": asked(kind="logs", src=str(directory / "*.log"), required=True), "encryption": encryption}
    assert site.back_up(**given).changed
    log.write_text("one\n" * 1000 + "two\n")
    assert not site.back_up(**given).changed
    site.change()
    second = site.back_up(**given)
    assert second.changed
    assert site.verified("full", opening)[0] == "passed"
    assert second.backup is not None
    text = (second.backup.path / "manifest.json").read_text()
    assert ("app.log" in text) == (scheme == "none")

    there = tmp_path / "there"
    asked_for = restore.Request(site.repository, dest=tmp_path / "new.db", files_to=there, keys=opening)
    outcome = restore.run(asked_for)
    assert (there / "logs" / "app.log").read_text() == "two\n"
    assert [each["fate"] for each in outcome.files] == ["in place"]
    in_place = restore.run(restore.Request(site.repository, dest=tmp_path / "n.db", with_files=True, keys=opening))
    assert (in_place.files, in_place.warnings) == ([], [])
    first = site.ids()[0]
    restore.run(
        restore.Request(site.repository, first, dest=tmp_path / "old.db", files_to=tmp_path / "first", keys=opening)
    )
    assert (tmp_path / "first" / "logs" / "app.log").read_text() == "one\n" * 1000


def test_log_that_cannot_be_noted_is_a_warning_of_a_good_backup(site: Site) -> None:
    (site.directory / "app.log").write_text("one\n")
    site.back_up()
    (site.repository / ".index" / "logs.json").mkdir(parents=True)
    (site.repository / ".index" / "logs.json" / "x").touch()
    site.change()
    outcome = back_up(site, kind="logs", src=str(site.directory / "app.log"))
    assert outcome.changed
    assert "Cannot note up to where logs are stored" in outcome.warnings[-1]


def test_two_required_parts_of_one_name_are_refused(site: Site) -> None:
    (site.directory / "logs").mkdir()
    (site.directory / "logs" / "a.log").write_text("x\n")
    logs = asked(kind="logs", src=str(site.directory / "logs" / "*"), required=True)
    with pytest.raises(UsageError, match="two files 'logs/a.log'"):
        site.back_up(include=(*asked(src=str(site.directory / "logs")), *logs))


def test_rotated_log_is_stored_when_none_has_its_place_yet(site: Site) -> None:
    log = site.directory / "app.log"
    log.write_text("one\n")
    wanted = {"kind": "logs", "src": str(site.directory / "*.log")}
    back_up(site, **wanted)
    log.write_text("one\ntwo\n")
    log.rename(site.directory / "app.log.1")
    site.change()
    outcome = back_up(site, **wanted)
    assert {name: gzip.decompress(each) for name, each in stored(outcome).items()} == {"logs/app.log.1.gz": b"two\n"}
    (warning,) = outcome.warnings
    assert "there are no logs" in warning


# --- names that are apart --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([{"kind": "logs", "src": "/a/*"}, {"kind": "logs", "src": "/b/*"}], ["logs", "logs-2"]),
        (
            [{"kind": "logs", "src": "/a/*"}, {"kind": "logs", "src": "/b/*"}, {"kind": "logs", "src": "/c/*"}],
            ["logs", "logs-2", "logs-3"],
        ),
        (
            [{"kind": "logs", "src": "/a/*"}, {"kind": "logs", "src": "/b/*"}, {"src": "/logs-2"}],
            ["logs", "logs-3", "logs-2"],
        ),
        ([{"kind": "logs", "src": "/a/*"}, {"src": "/c/logs/x"}, {"src": "/c/Logs"}], ["logs-2", "x", "Logs"]),
        (
            [{"kind": "metrics", "url": "http://a/"}, {"kind": "metrics", "url": "http://b/"}],
            ["metrics.txt", "metrics.txt-2"],
        ),
        ([{"src": "/a/x", "required": False}, {"src": "/b/x"}], ["x-2", "x"]),
        ([{"src": "/a/x"}, {"src": "/b/y", "name": "x/y/z", "required": False}], ["x", "x-2/y/z"]),
        (
            [{"src": "/a", "name": "x/y", "required": False}, {"src": "/b", "name": "x", "required": False}],
            ["x/y", "x-2"],
        ),
        ([{"kind": "prisma_schema"}, {"src": "/srv/prisma"}], ["schema.prisma-2", "prisma"]),
        ([{"kind": "prisma_schema"}, {"kind": "prisma_schema"}], ["schema.prisma", "schema.prisma-2"]),
        ([{"src": "/a/x"}, {"src": "/b/x"}], ["x", "x"]),
    ],
)
def test_what_is_not_required_gets_a_name_of_its_own(wanted: list[dict[str, Any]], names: list[str]) -> None:
    found = inclusion.apart(include.requested(wanted))
    assert [each.stored_name for each in found] == names


@pytest.mark.parametrize("scheme", ["none", "age"])
def test_logs_of_two_places_that_are_named_alike_never_stop_a_backup(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "srv").mkdir()
    site = Site(tmp_path / "srv")
    site.repository = tmp_path / "repository"
    encryption, opening = keys.scheme(scheme)
    wanted: list[dict[str, Any]] = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        wanted.append({"kind": "logs", "src": str(tmp_path / place / "*.log")})
    everything = include.requested(wanted)
    for text, rotate in (("one", ""), ("two", "old"), ("three", "")):
        for place in ("a", "b"):
            log = tmp_path / place / "app.log"
            with log.open("a") as file:
                file.write(f"{text} of {place}\n")
            if rotate:
                log.rename(log.with_name(rotate))
                log.touch()
        site.change()
        outcome = site.back_up(include=everything, encryption=encryption)
        assert outcome.changed
    for number, (name, text) in enumerate((("app.log", "one"), ("old", "two"), ("app.log", "three"))):
        there = tmp_path / f"there-{number}"
        dest = tmp_path / f"{number}.db"
        restore.run(restore.Request(site.repository, site.ids()[number], dest=dest, files_to=there, keys=opening))
        found = {str(each.relative_to(there)): each.read_text() for each in there.rglob("*") if each.is_file()}
        assert found == {f"logs/{name}": f"{text} of a\n", f"logs-2/{name}": f"{text} of b\n"}
    first, second = outcome.backup, site.verified("full", opening)
    assert first is not None
    assert second[0] == "passed"


@pytest.mark.parametrize("required", [False, True])
def test_log_that_two_name_is_stored_once(site: Site, required: bool) -> None:
    log = site.directory / "app.log"
    log.write_text("one\n")
    patterns = ("*.log", "app.*")
    wanted = [{"kind": "logs", "src": str(site.directory / each), "required": required} for each in patterns]
    outcome = site.back_up(include=include.requested(wanted))
    assert [*stored(outcome)] == ["logs/app.log.gz"]


def test_file_of_a_name_that_was_taken_goes_back_to_its_own_place(site: Site, tmp_path: Path) -> None:
    places = [tmp_path / each / "app.conf" for each in ("one", "two")]
    for each in places:
        each.parent.mkdir()
        each.write_text(str(each))
    wanted = include.requested([{"src": str(places[0])}, {"src": str(places[1]), "required": False}])
    assert [*stored(site.back_up(include=wanted))] == ["app.conf", "app.conf-2"]
    for each in places:
        each.unlink()
    restore.run(restore.Request(site.repository, dest=tmp_path / "new.db", with_files=True, include=wanted))
    assert [each.read_text() for each in places] == [str(each) for each in places]


# --- between gathering and storing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["none", "age"])
@pytest.mark.parametrize(
    "kind", [{"required": False}, {"kind": "metrics"}, {"kind": "prisma_schema"}, {"kind": "logs"}, {}]
)
def test_what_goes_away_during_a_backup_is_left_out_unless_it_is_required(
    tmp_path: Path, kind: dict[str, Any], scheme: str
) -> None:
    (tmp_path / "srv").mkdir()
    site = Site(tmp_path / "srv")
    site.repository = tmp_path / "repository"
    encryption, opening = keys.scheme(scheme)
    path = site.directory / "some.file"
    path.write_text("content\n")
    wanted = {"include": asked(src=str(path), **kind), "encryption": encryption}

    def away(_done: int, _all: int) -> None:
        path.unlink(missing_ok=True)

    if not kind:
        with pytest.raises(EngineError) as caught:
            site.back_up(progress=away, **wanted)
        assert caught.value.code == 18
        assert str(path) in str(caught.value)
        assert site.ids() == []
        return
    outcome = site.back_up(progress=away, **wanted)
    assert [each.partition(":")[0] for each in outcome.warnings] == ["not included"]
    assert str(path) in outcome.warnings[0]
    assert stored(outcome) == {}
    assert site.verified("full", opening)[0] == "passed"
    # What is back is wanted again, also in a backup that tells nobody what it holds.
    path.write_text("content\n")
    again = site.back_up(**wanted)
    assert again.changed == ("kind" not in kind or kind["kind"] == "prisma_schema")
    assert again.warnings == []
    assert not site.back_up(**wanted).changed


@pytest.mark.parametrize("scheme", ["none", "age"])
def test_what_is_replaced_during_a_backup_is_stored_whole_and_known_as_that(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "srv").mkdir()
    site = Site(tmp_path / "srv")
    site.repository = tmp_path / "repository"
    encryption, opening = keys.scheme(scheme)
    schema = site.directory / "schema.prisma"
    schema.write_text(SCHEMA)
    wanted = {"include": asked(kind="prisma_schema"), "encryption": encryption}

    def replaced(_done: int, _all: int) -> None:
        (site.directory / "new").write_text(f"// a comment\n{SCHEMA * 3}")
        (site.directory / "new").replace(schema)

    assert site.back_up(progress=replaced, **wanted).warnings == []
    assert not site.back_up(**wanted).changed
    restore.run(restore.Request(site.repository, dest=tmp_path / "new.db", files_to=tmp_path / "there", keys=opening))
    assert (tmp_path / "there" / "schema.prisma").read_text() == f"// a comment\n{SCHEMA * 3}"
