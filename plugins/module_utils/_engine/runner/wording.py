# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results as text for people: one line for what was done, aligned tables for what there is. Nothing here prints."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ..system import clock
from ..system.files import counted, readable
from ..system.words import plain

Facts = Mapping[str, Any]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> list[str]:
    """Aligned lines; the columns named in ``right`` end at the same place."""
    cells = [list(head), *([plain(each) for each in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return ["  ".join(_aligned(row, head, widths, right)).rstrip() for row in cells]


def _aligned(row: Sequence[str], head: Sequence[str], widths: Sequence[int], right: Sequence[str]) -> list[str]:
    return [cell.rjust(width) if name in right else cell.ljust(width) for cell, name, width in zip(row, head, widths)]


def backed_up(facts: Facts, *, dry_run: bool = False) -> str:
    """What a backup, and the prune after it, did."""
    made = facts["backup"]
    if dry_run and "id" not in made:
        text = f"would store a new {made['type']} backup"
    elif facts["stored"]:
        text = _stored(made)
    else:
        text = f"unchanged, {made['id']} {'would be confirmed' if dry_run else 'confirmed'}"
    if made["accepted"]:
        count = counted(len(made["accepted"]), "backup")
        text += f"; {'would accept' if dry_run else 'accepted'} {count}"
    if facts["pruned"] and facts["pruned"]["removed"]:
        text += f"; {removed(facts['pruned'], dry_run=dry_run)}"
    return text


def _stored(made: Facts) -> str:
    rows = ""
    if made["tables"]:
        rows = f", {counted(sum(made['tables'].values()), 'row')} in {counted(len(made['tables']), 'table')}"
    took = sum(made["durations"].values())
    marks = "".join(f", {word}" for word in _marks(made))
    sizes = f"{readable(made['stored_bytes'])} of {readable(made['database_bytes'])}"
    return f"stored {made['id']}{marks} ({sizes}{rows}, {took:.1f} s)"


def _marks(made: Facts) -> list[str]:
    """One that is suspect is perhaps held apart for that, too."""
    words = ("pinned", "suspect") if made["suspect"] else ("pinned", "apart")
    return [each for each in words if made[each]]


def removed(facts: Facts, *, dry_run: bool = False) -> str:
    count = len(facts["removed"])
    return f"{'would remove' if dry_run else 'removed'} {counted(count, 'backup')}, {readable(facts['freed_bytes'])}"


def pruned(facts: Facts, *, dry_run: bool = False) -> list[str]:
    """What a prune removed, and why each of the others stays."""
    rows = [[each["id"], "kept", ", ".join(each["reasons"])] for each in facts["kept"]]
    word = "would go" if dry_run else "removed"
    rows.extend([each["id"], word, readable(each["bytes"])] for each in facts["removed"])
    told = removed(facts, dry_run=dry_run) if facts["removed"] else "nothing to remove"
    return [f"{told}, {len(facts['kept'])} kept", *table(("BACKUP", "", "WHY"), sorted(rows))]


def pinned(facts: Facts, *, dry_run: bool = False) -> str:
    """What became of the pin of a backup."""
    pin = facts["pin"]
    end = f" until {pin['until']}" if pin["until"] else ""
    if not facts["changed"]:
        return f"{pin['id']} already is {'pinned' if pin['pinned'] else 'not pinned'}{end}, nothing was done"
    verb = ("pin" if pin["pinned"] else "unpin") if dry_run else ("pinned" if pin["pinned"] else "unpinned")
    return f"{'would ' if dry_run else ''}{verb} {pin['id']}{end}"


def listed(repository: Facts) -> list[str]:
    """Every backup of a repository, the newest last."""
    head = ("BACKUP", "AGE", "STORED", "DATABASE", "STATE", "PROVEN", "KEPT BY", "GOES", "REASON")
    where = f"{plain(repository['source'])} in {plain(repository['path'])}"
    title = f"{counted(len(repository['backups']), 'backup')} of {where}, {readable(repository['total_bytes'])}"
    return [title, *table(head, [_backup_row(each) for each in repository["backups"]], right=head[1:4])]


def listed_anywhere(facts: Facts) -> list[str]:
    """What is in the repository, or at a target."""
    return listed(facts["repository"]) if "repository" in facts else _listed_at(facts["target"])


def _listed_at(target: Facts) -> list[str]:
    head = ("BACKUP", "FILES", "STORED", "STATE", "HERE")
    rows = [
        [
            each["id"],
            str(each["files"]),
            readable(each["bytes"]),
            "whole" if each["whole"] else "begun",
            "yes" if each["here"] else "no",
        ]
        for each in target["backups"]
    ]
    whole = [each for each in target["backups"] if each["whole"]]
    title = (
        f"{counted(len(whole), 'backup')} at {plain(target['url'])}, {readable(sum(each['bytes'] for each in whole))}"
    )
    return [title, *table(head, rows, right=head[1:3])]


def pushed(targets: Sequence[Facts], *, dry_run: bool = False) -> list[str]:
    """What went to each target, a line each."""
    lines = [f"{plain(each['name'])}: {_carried(each, 'send', 'sent', dry_run)}" for each in targets]
    return lines if len(lines) == 1 else [counted(len(lines), "target"), *(f"  {each}" for each in lines)]


def pulled(facts: Facts, *, dry_run: bool = False) -> str:
    return _carried(facts, "fetch", "fetched", dry_run)


def _carried(facts: Facts, verb: str, done: str, dry_run: bool) -> str:
    if "transferred" not in facts:
        return "failed"
    moved = facts["transferred"]
    told = f"newest there {facts['target']['newest'] or 'none'}"
    if facts["target"]["behind_seconds"] is not None:
        told += f", {clock.in_words(facts['target']['behind_seconds'])} old"
    if not moved:
        return f"nothing to {verb}; {told}"
    total = readable(sum(each["bytes"] for each in moved))
    what = f"{counted(len(moved), 'backup')}, {total}"
    return f"would {verb} {what}; {told}" if dry_run else f"{done} {what}; {told}"


def _backup_row(backup: Facts) -> list[str]:
    kept = [_kept_by(backup), _goes(backup)]
    if "created" not in backup:
        return [backup["id"], "", "", "", "damaged", "", *kept, backup["damage"]]
    state = "suspect" if backup["suspect"] else "verified" if backup["verified"] else "unverified"
    state = "damaged" if backup["damage"] else "apart" if backup["apart"] and not backup["suspect"] else state
    state = "foreign" if backup["foreign"] else state
    marks = [state, *(word for word in ("pinned",) if backup[word])]
    sizes = [readable(backup["stored_bytes"]), readable(backup["database_bytes"])]
    proven = f"{_age(backup['proven'])} ago" if backup["proven"] else "never"
    old = _age(backup["created"])
    return [backup["id"], old, *sizes, ", ".join(marks), proven, *kept, backup["damage"] or backup["reason"]]


def _age(moment: str) -> str:
    return clock.in_words(max(0, (clock.now() - clock.from_text(moment)).total_seconds()))


def _kept_by(backup: Facts) -> str:
    """The reasons to stay, each id in them left out: a line must be readable."""
    reasons = backup.get("reasons")
    if reasons is None:
        return "?"
    words = (each.partition(" by ")[0] if each.endswith(("-full", "-incremental")) else each for each in reasons)
    return ", ".join(dict.fromkeys(words)) or "nothing"


def _goes(backup: Facts) -> str:
    if backup.get("goes") is not None:
        seconds = (clock.from_text(backup["goes"]) - clock.now()).total_seconds()
        return f"in {clock.in_words(max(0, seconds))}" if backup["reasons"] else "next run"
    return "never" if backup.get("stays") == "pinned" else "?"


def verified(facts: Facts) -> list[str]:
    """The outcome, and every check."""
    verification = facts["verification"]
    rows = [[each["name"], each["outcome"], each["detail"]] for each in verification["checks"]]
    return [str(verification["outcome"]), *table(("CHECK", "OUTCOME", "FOUND"), rows)]


def drilled(drills: Sequence[Facts], *, dry_run: bool = False) -> list[str]:
    """What each drill found, a line each, with what is not well."""
    if dry_run:
        return [f"would restore {', '.join(each['backup'] for each in drills)} for trial"]
    head = ("BACKUP", "OUTCOME", "TOOK", "RTO", "AGE", "RPO", "DATABASE", "FOUND")
    rows = [_drill_row(each) for each in drills]
    bad = [each for each in drills if each["outcome"] != "passed"]
    told = f"{counted(len(drills), 'drill')}, {len(bad) or 'none'} failed"
    return [told, *table(head, rows, right=(head[2], head[6]))]


def _drill_row(drill: Facts) -> list[str]:
    took, age, size = drill["rto_seconds"], drill["rpo_seconds"], drill["database_bytes"]
    later = drill["forecast"]
    found = drill["error"]["message"] if drill["error"] else f"{counted(len(drill['checks']), 'check')} passed."
    if later and later["rto_met"] is False:
        found += f" In {later['days']} days it would take {clock.in_words(later['rto_seconds'])}, too long."
    return [
        drill["backup"] or "none",
        drill["outcome"],
        "" if took is None else f"{took:.1f} s",
        _objective(drill["rto_target_seconds"]),
        "" if age is None else clock.in_words(age),
        _objective(drill["rpo_target_seconds"]),
        "" if size is None else readable(size),
        found,
    ]


def _objective(seconds: float | None) -> str:
    return "not set" if seconds is None else clock.in_words(seconds)


def found_good(facts: Facts) -> list[str]:
    """The newest good backup, and why each newer one is none."""
    seconds = (clock.now() - clock.from_text(facts["created"])).total_seconds()
    told = f"{facts['backup']} is the newest good backup, {clock.in_words(max(0, seconds))} old"
    rows = [[each["backup"], each["reason"]] for each in facts["newer"]]
    return [told, *(table(("NEWER", "WHY NOT"), rows) if rows else [])]


def compared(facts: Facts) -> list[str]:
    """What differs: the tables, then the other objects of the schema and the fields of the header."""
    sides = f"{facts['before']['backup']} and {facts['after']['backup']}"
    if facts["identical"]:
        return [f"{sides} hold the same: {counted(len(facts['tables']), 'table')}"]
    tables = [each for each in facts["tables"] if each["change"] != "same"]
    lines = [f"{sides} differ in {counted(len(tables), 'table')} of {len(facts['tables'])}"]
    if tables:
        head = ("TABLE", "", "ROWS BEFORE", "ROWS AFTER", "ADDED", "REMOVED", "CHANGED", "KNOWN BY")
        lines += table(head, [_compared_table(each) for each in tables], right=head[2:7])
    rows = [[each["type"], each["name"], each["change"]] for each in facts["schema"]]
    rows.extend(["header", name, f"{values[0]} -> {values[1]}"] for name, values in facts["header"].items())
    return [*lines, *(table(("SCHEMA", "NAME", "CHANGE"), rows) if rows else [])]


def _compared_table(table: Facts) -> list[str]:
    numbers = (table[each] for each in ("rows_before", "rows_after", "added", "removed", "changed"))
    by = table["trouble"] or table["by"]
    signed = [f"{sign}{each}" for sign in "+-" for each in table["columns_added" if sign == "+" else "columns_removed"]]
    cells = ["" if each is None else str(each) for each in numbers]
    return [table["name"], table["change"], *cells, ", ".join(filter(None, (by, *signed)))]


def extracted(facts: Facts) -> str:
    """What was taken out of a backup."""
    what = f"{counted(sum(facts['tables'].values()), 'row')} in {', '.join(map(plain, facts['tables']))}"
    return f"took {what} out of {facts['backup']} into {plain(facts['into'])}, {readable(facts['bytes'])}"


def exported(facts: Facts, *, dry_run: bool) -> str:
    """What was written as text."""
    made = facts["export"]
    what = f"{counted(sum(made['tables'].values()), 'row')} of {counted(len(made['tables']), 'table')}"
    source = "" if made["backup"] == "live" else f" out of {made['backup']}"
    if not facts["changed"]:
        return f"{plain(made['dest'])} holds just that already, {what}{source}"
    if dry_run:
        return f"would write {what}{source} into {plain(made['dest'])}"
    return f"wrote {what}{source} into {plain(made['dest'])}, {readable(made['bytes'])}"


def imported(facts: Facts, *, dry_run: bool) -> str:
    """What was built out of text."""
    made = facts["import"]
    what = f"{counted(sum(made['tables'].values()), 'row')} of {counted(len(made['tables']), 'table')}"
    if not facts["changed"]:
        return f"{plain(made['dest'])} holds just that already, {what}"
    kept = f"; what was there is in {plain(made['undo_set'])}" if made["undo_set"] else ""
    return f"{'would build' if dry_run else 'built'} {plain(made['dest'])} with {what}{kept}"


def diagnosed(findings: Sequence[Facts]) -> list[str]:
    """What is not well with what to do about it, then what is."""
    outcomes = [each["outcome"] for each in findings]
    worst_first = sorted(findings, key=lambda each: ("problem", "warning", "note", "ok").index(each["outcome"]))
    rows = []
    for each in worst_first:
        rows.append([each["name"], each["outcome"], each["detail"]])
        rows.extend([["", "", f"-> {each['hint']}"]] if each["hint"] else [])
    counts = (counted(outcomes.count(word), word) for word in ("problem", "warning", "note"))
    return [f"{', '.join(counts)}, {outcomes.count('ok')} ok", *table(("CHECK", "OUTCOME", "FOUND"), rows)]


def restored(facts: Facts, *, undo: bool = False, dry_run: bool = False) -> str:
    told = facts["restore"]
    what, dest = "what was there before" if undo else told["backup"], plain(told["dest"])
    if told["not_after"]:
        what += f", the newest from {told['not_after']} or earlier,"
    if not facts["changed"]:
        return f"{dest} already is {what.rstrip(',')}, nothing was done"
    if not told["replaced"]:
        return f"{dest} already is {what.rstrip(',')}"
    text = f"{'would put' if dry_run else 'put'} {what} in place as {dest}"
    return text + (f"; what it replaced is in {plain(told['undo_set'])}" if told["undo_set"] else "")


def put_back(facts: Facts, *, dry_run: bool) -> list[str]:
    """The included files that a restore wrote; what it did not is told by warnings."""
    verb = "would put" if dry_run else "put"
    written = (each for each in facts["restore"]["files"] if each["changed"])
    return [f"  {verb} {plain(each['name'])} back as {plain(each['path'])}" for each in written]


def status(results: Sequence[tuple[str, Facts]]) -> list[str]:
    """A table of databases; each has its name, and its facts if they could be had."""
    head = ["DATABASE", "STATE", "NEWEST VERIFIED", "RPO", "BACKUPS", "STORED", "OFF-SITE", "LAST DRILL", "LAST RUN"]
    rows = [[name, _state(facts), *_status_cells(facts)] for name, facts in results]
    # Where nobody has a copy elsewhere, or makes drills, there is no column for them.
    told = [
        name not in ("OFF-SITE", "LAST DRILL") or any(row[place] for row in rows) for place, name in enumerate(head)
    ]
    head, *rows = [list(itertools.compress(row, told)) for row in (head, *rows)]
    return table(head, rows, right=("BACKUPS", "STORED"))


def _state(facts: Facts) -> str:
    state = str(facts.get("state", "error"))
    return state if state == "ok" else state.upper()


def status_line(facts: Facts) -> str:
    newest, rpo, backups, stored, copies, drill, last = _status_cells(facts)
    told = f"newest verified backup: {newest}, RPO {rpo or 'not set'}, backups: {backups}, {stored}"
    return f"{told}{copies and f', off-site: {copies}'}{drill and f', last drill {drill}'}, last run {last}"


def _status_cells(facts: Facts) -> list[str]:
    if not facts:
        return [""] * 7
    old, failed = facts["age_seconds"], facts["last_failure"]
    told = f"failed at {failed['time']}: {failed['message']}" if failed else "good" if facts["backups"] else "none"
    newest = "none" if old is None else f"{clock.in_words(old)} ago"
    sizes = [str(facts["backups"]), readable(facts["total_bytes"])]
    return [
        newest,
        facts["rpo"] or "",
        *sizes,
        ", ".join(map(_behind, facts["targets"])),
        _drilled(facts["last_drill"]),
        told,
    ]


def _drilled(drill: Facts | None) -> str:
    if drill is None:
        return ""
    return f"{drill['outcome'] if drill['outcome'] == 'passed' else drill['outcome'].upper()} {_age(drill['time'])} ago"


def _behind(target: Facts) -> str:
    """How far a target is behind."""
    seconds = target["behind_seconds"]
    marked = " FAILED" if target["failure"] else ""
    return f"{plain(target['name'])} {'never' if seconds is None else clock.in_words(seconds)}{marked}"


def tried(facts: Mapping[str, Any]) -> str:
    """What was found out about a configuration."""
    return "backups can succeed with it" if facts["tried"] else "not tried: there is no backup yet"


def acknowledged(facts: Facts, *, dry_run: bool = False) -> list[str]:
    """What is not held apart any more, and why it was."""
    if not facts["accepted"]:
        return ["nothing is held apart"]
    text = f"{'would accept' if dry_run else 'accepted'} {counted(len(facts['accepted']), 'backup')}"
    return [text, *(f"  {name}: {plain(why)}" for name, why in facts["held"].items())]


def audited(facts: Facts) -> list[str]:
    """What an audit log says of itself, and its newest lines."""
    text = "nothing is written down yet"
    if facts["lines"]:
        text = f"{counted(facts['lines'], 'line')} from {facts['first']} to {facts['last']}"
        text += ", each follows from the one before it" if not facts["breaks"] else ", broken:"
    lines = [text, *(f"  {plain(each)}" for each in facts["breaks"])]
    if facts["torn"]:
        lines.append(f"  {counted(facts['torn'], 'line')} cut short by a crash")
    if facts["events"]:
        rows = [
            [str(event.get(key) or "") for key in ("time", "event", "outcome", "backup")] for event in facts["events"]
        ]
        for row, event in zip(rows, facts["events"]):
            row.append(" from ".join(str(event[key]) for key in ("sudo_user", "from") if event.get(key)) or "")
            row.insert(4, str(event.get("user") or ""))
        lines.extend(f"  {each}" for each in table(("TIME", "EVENT", "OUTCOME", "BACKUP", "USER", "BY"), rows))
    return lines
