# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may change what on a Windows host, judged on the controller from the facts that rights.ps1 tells.

What an access control entry means is in [MS-DTYP] 2.4.4 and 2.5.3, and in "File Access Rights Constants" of the Windows
documentation. docs/windows.md says which entry counts for which object, and why.
"""

from __future__ import annotations

import json
import ntpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.plugin_utils import windows

SYSTEM = "S-1-5-18"
ADMINISTRATORS = "S-1-5-32-544"
TRUSTED_INSTALLER = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
# Whoever owns the object: the owner is judged as such.
_OWNER_RIGHTS = "S-1-3-4"
# Only in entries for what will be made below: nobody has these identities. Who makes something there is judged.
_CREATORS = ("S-1-3-0", "S-1-3-1")
_NAMES = {
    "S-1-1-0": "Everyone",
    "S-1-5-4": "Interactive",
    "S-1-5-7": "Anonymous",
    "S-1-5-11": "Authenticated Users",
    "S-1-5-19": "Local Service",
    "S-1-5-20": "Network Service",
    "S-1-5-32-545": "Users",
    "S-1-5-32-546": "Guests",
}

# To a directory the first two are the right to make a file and a directory in it.
_WRITE_DATA, _APPEND_DATA, _WRITE_EA, _DELETE_CHILD, _WRITE_ATTRIBUTES = 0x2, 0x4, 0x10, 0x40, 0x100
_DELETE, _WRITE_DAC, _WRITE_OWNER = 0x10000, 0x40000, 0x80000
_GENERIC_ALL, _GENERIC_WRITE = 0x10000000, 0x40000000
# What lets somebody exchange that which is below.
_EXCHANGE = _DELETE_CHILD | _WRITE_DAC | _WRITE_OWNER | _GENERIC_ALL
_WRITE = _EXCHANGE | _WRITE_DATA | _APPEND_DATA | _WRITE_EA | _WRITE_ATTRIBUTES | _DELETE | _GENERIC_WRITE
_MAKE_FILE = _WRITE_DATA | _GENERIC_WRITE
_MAKE_DIRECTORY = _APPEND_DATA | _GENERIC_WRITE
_ANY = 0xFFFFFFFF

# The flag of an entry that is not for the object itself, only for what is made below it.
_INHERIT_ONLY = 0x8
_DENIALS = (1, 6, 10, 12)
# What is in a directory that the role made before; of a directory of repositories, what is one level below.
_MARKS = {"repository.json", "databases.d", "targets.d", "seen.d", "watch.json"}
_SHOWN = 5


@dataclass(frozen=True)
class Rule:
    """An access control entry that allows something."""

    sid: str
    mask: int
    flags: int = 0

    @property
    def is_for_below(self) -> bool:
        return bool(self.flags & _INHERIT_ONLY)


@dataclass(frozen=True)
class Fact:
    """What is at ``path``; ``rules`` is None where nothing restricts anybody. ``below`` is the directory it is in."""

    path: str
    kind: str
    owner: str = ""
    protected: bool = False
    rules: tuple[Rule, ...] | None = ()
    below: str = ""


@dataclass(frozen=True)
class Places:
    """Directories and files, by what others may do there.

    ``taken`` are about to get rules of their own; of ``made``, made a moment ago, the owner counts; ``private`` are for
    nobody else; in ``shared`` others may read. ``programs`` are executed, or read by what is executed, so the account
    that runs them may not write either. In ``beside`` nobody may make a file.
    """

    taken: Sequence[str] = ()
    made: Sequence[str] = ()
    private: Sequence[str] = ()
    shared: Sequence[str] = ()
    programs: Sequence[str] = ()
    beside: Sequence[str] = ()


@dataclass
class Facts:
    """What was told of a host, by ``windows.key`` of the path."""

    trusted: frozenset[str]
    account: str
    items: dict[str, Fact] = field(default_factory=dict)
    below: list[Fact] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)
    searched: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)

    def of(self, path: str) -> Fact:
        try:
            return self.items[windows.key(path)]
        except KeyError:
            raise UsageError(f"Nothing was told of {path}.") from None


def facts(lines: Sequence[Any]) -> Facts:
    """The lines of rights.ps1: JSON, the first of who connects and who will run. Else a ``UsageError``."""
    try:
        told = [dict(each) if isinstance(each, Mapping) else dict(json.loads(each)) for each in lines]
        first = told[0]
        found = Facts(frozenset((SYSTEM, ADMINISTRATORS, TRUSTED_INSTALLER, first["current"])), first["account"])
        for each in told[1:]:
            _add(found, each)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"What the host told of its rights cannot be understood: {error!r}.") from None
    return found


def _add(found: Facts, told: Mapping[str, Any]) -> None:
    path = told["path"]
    if "names" in told:
        found.names[windows.key(path)] = list(told["names"])
    elif told["kind"] in ("searched", "program"):
        (found.searched if told["kind"] == "searched" else found.programs).append(path)
    else:
        rules = told.get("rules", [])
        allowed = None if rules is None else tuple(_rules(rules))
        below = told.get("below") or ""
        fact = Fact(path, told["kind"], told.get("owner") or "", bool(told.get("protected")), allowed, below)
        if below:
            found.below.append(fact)
        else:
            found.items[windows.key(path)] = fact


def _rules(told: Sequence[str]) -> Iterator[Rule]:
    """Each is a type, flags, a mask and an identity. What is denied to somebody allows nothing, and is left out.

    That a denial takes something back from a rule behind it does not count: better too careful.
    """
    for each in told:
        kind, flags, mask, sid = str(each).split()
        if int(kind) not in _DENIALS:
            yield Rule(sid, int(mask), int(flags))


def problems(found: Facts, places: Places) -> list[str]:
    """What is open to others there, a line each; none when all is well."""
    lines = [*_in_places(found, places)]
    looked = (*places.taken, *places.private, *places.shared, *places.programs, *found.searched, *found.programs)
    for path in looked:
        for above in _ancestors(path):
            lines.extend(_of_ancestor(found, found.of(above)))
    return list(dict.fromkeys(lines))


def _in_places(found: Facts, places: Places) -> Iterator[str]:
    everybody = found.trusted | {found.account}
    for path in places.taken:
        yield from _of(found.of(path), everybody, _WRITE)
        yield from _foreign(found, found.of(path), everybody)
    for path in places.made:
        yield from _of(found.of(path), everybody, 0)
    for path in places.private:
        yield from _of(found.of(path), everybody, _ANY)
    for fact in found.below:
        yield from _of(fact, everybody, _ANY)
    for path in places.shared:
        yield from _of(found.of(path), everybody, _WRITE)
    for path in (*places.programs, *found.programs):
        yield from _of(found.of(path), found.trusted, _WRITE)
    for path in places.beside:
        yield from _of(found.of(path), found.trusted, _EXCHANGE | _MAKE_FILE, ignore_below=True)
    for path in found.searched:
        yield from _of(found.of(path), found.trusted, _WRITE)
        yield from _of_missing(found, path)


def _of(fact: Fact, trusted: frozenset[str], mask: int, *, ignore_below: bool = False) -> Iterator[str]:
    """Who else owns it, or has one of the rights of ``mask`` to it or to what is made in it."""
    if fact.kind == "absent":
        return
    if fact.kind in ("link", "more"):
        yield f"{fact.path}: {'a link' if fact.kind == 'link' else 'more rules than can be looked at'}"
        return
    if fact.owner not in trusted:
        yield f"{fact.path}: belongs to {_named(fact.owner)}"
    if fact.rules is None and mask:
        yield f"{fact.path}: open to everybody, since it has no rules"
    for rule in fact.rules or ():
        if ignore_below and rule.is_for_below:
            continue
        if rule.sid not in (*trusted, *_CREATORS, _OWNER_RIGHTS) and rule.mask & mask:
            yield f"{fact.path}: {'open to' if mask == _ANY else 'can be changed by'} {_named(rule.sid)}"


def _of_ancestor(found: Facts, fact: Fact) -> Iterator[str]:
    """That somebody makes directories beside ours is as usual; what counts is whether ours can be exchanged."""
    mask = _EXCHANGE | (0 if windows.is_root(fact.path) else _DELETE)
    yield from _of(fact, found.trusted, mask, ignore_below=True)


def _of_missing(found: Facts, path: str) -> Iterator[str]:
    """A directory of PATH that is not there can be made by who may make one above."""
    if found.of(path).kind != "absent":
        return
    above = next((each for each in map(found.of, _ancestors(path)) if each.kind != "absent"), None)
    for line in _of(above, found.trusted, _MAKE_DIRECTORY, ignore_below=True) if above else ():
        yield f"{path}, which PATH names and which is not there: {line}"


def _foreign(found: Facts, fact: Fact, trusted: frozenset[str]) -> Iterator[str]:
    """What is in use for something else must not lose the rights that it has."""
    names = found.names.get(windows.key(fact.path), [])
    is_ours = fact.protected and fact.rules is not None and all(rule.sid in trusted for rule in fact.rules)
    if not names or is_ours or any(ntpath.basename(name).lower() in _MARKS for name in names):
        return
    yield f"{fact.path}: holds what is not of this role: {', '.join(names[:_SHOWN])}"


def _ancestors(path: str) -> Iterator[str]:
    """Each directory above ``path``, up to the drive."""
    while (above := ntpath.dirname(path)) != path:
        yield above
        path = above


def _named(sid: str) -> str:
    return f"{_NAMES[sid]} ({sid})" if sid in _NAMES else sid or "nobody"
