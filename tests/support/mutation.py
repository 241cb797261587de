# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutation testing of the code: whether a test fails when a guard is missing in the rooms that data depends on.

In a copy of the checkout one statement, condition, comparison, flag or number is changed at a time, and the tests of
that room are run. What no test notices survives; CONTRIBUTING.md lists which may. A script of its own, since cosmic-ray
8.7 and mutmut 3.8 drop no statement, which is what a missing guard is, take no tests by module and no sample, and
change the checkout, or put their own calls into an engine that is also packed into one file.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KNOWN = ROOT / "CONTRIBUTING.md"
# Each room, and which tests of test_<name>.py are about it besides those of its own name, the quickest first.
ROOMS = {
    "confined": "",
    "database": "snapshot restore",
    "description": "repository foreign one_repository_each",
    "destination": "restore",
    "encryption": "encrypted_backups",
    "files": "repository scratch",
    "image": "restore verify",
    "interrupts": "",
    "journal": "pin",
    "keyfiles": "encryption",
    "locks": "scratch repository restore",
    "manifest": "repository",
    "notes": "repository deep_checks",
    "owners": "restored_owners files restore hostile_user",
    "pin": "snapshot snapshot_meanwhile",
    "pins": "pinning",
    "places": "files hostile_user",
    "prune": "pinning",
    "published": "repository manifest deep_checks apart_backups foreign",
    "reading": "incremental",
    "repository": "notes one_repository_each foreign prune",
    "restore": "restored_owners killed_restore folding suspect_backups newer_sqlite",
    "scratch": "",
    "seal": "manifest description",
    "snapshot": "snapshot_meanwhile suspect_backups newer_sqlite",
    "switch": "folding killed_restore restored_owners power_failure restore guard faults",
}
_PAIRS = ((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.In, ast.NotIn), (ast.Is, ast.IsNot))
_SWAPPED = {**dict(_PAIRS), **{second: first for first, second in _PAIRS}}
_NOTHING = '__import__("contextlib").nullcontext()'
# Only for another system than the one that this runs on.
_ELSEWHERE = ("sys.platform == 'win32'", "os.name == 'nt'", "sys.platform != 'win32'", "os.name != 'nt'")
_LONGEST_TEXT = 110
_BASELINE_SECONDS = 600.0


@dataclass(frozen=True)
class Mutant:
    """In ``function`` of ``room`` the bytes of ``source`` from ``begin`` to ``end`` become ``new``."""

    room: str
    function: str
    source: bytes
    begin: int
    end: int
    new: str

    @property
    def mutated(self) -> bytes:
        return self.source[: self.begin] + self.new.encode() + self.source[self.end :]

    @property
    def row(self) -> str:
        """How CONTRIBUTING.md names it: by what is in its lines, before and after."""
        first = self.source.rfind(b"\n", 0, self.begin) + 1
        before, behind = self.source[first : self.begin], self.source[self.end :].split(b"\n", 1)[0]
        old = before + self.source[self.begin : self.end] + behind
        texts = [_short(each.decode()) for each in (old, before + self.new.encode() + behind)]
        return f"| `{self.room}.{self.function}` | `{texts[0]}` → `{texts[1]}` |"


def _short(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"


def _dropped(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Of a statement: what is left out."""
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    is_kept = isinstance(node, ast.Assign) and not isinstance(node.targets[0], (ast.Name, ast.Tuple))
    if is_call or is_kept or isinstance(node, (ast.Raise, ast.Continue)):
        yield node, "pass"
    elif isinstance(node, ast.With):
        yield from ((each.context_expr, _NOTHING) for each in node.items if each.optional_vars is None)
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield from ((node.test, value) for value in ("True", "False"))
    elif isinstance(node, ast.comprehension):
        yield from ((test, "True") for test in node.ifs)


def _turned(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Of an expression: what it is instead."""
    others: list[ast.expr] = []
    if isinstance(node, ast.BoolOp):
        rests = ([other for other in node.values if other is not each] for each in node.values)
        others = [ast.BoolOp(node.op, rest) if rest[1:] else rest[0] for rest in rests]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        others = [node.left, node.right]
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        others = [ast.Compare(node.left, [_SWAPPED[type(node.ops[0])]()], node.comparators)]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        others = [node.operand]
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        others = [ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)]
    yield from ((node, f"({ast.unparse(each)})") for each in others)


def _walk(node: ast.AST, names: tuple[str, ...] = ()) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """Every node in a function, and the name of that; but types, messages and what is for another system."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        names = (*names, node.name)
    left_out = ["annotation", "returns", "decorator_list"]
    if isinstance(node, (ast.If, ast.IfExp)) and ast.unparse(node.test) in _ELSEWHERE:
        left_out += ["test", "body"]
    elif names:
        yield node, names
    if isinstance(node, (ast.Raise, ast.JoinedStr)):
        return
    for name, value in ast.iter_fields(node):
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST) and name not in left_out:
                yield from _walk(each, names)


def mutants(room: str, source: bytes) -> list[Mutant]:
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, names in _walk(ast.parse(source)):
        for replaced, new in (*_dropped(node), *_turned(node)):
            begin = starts[replaced.lineno - 1] + replaced.col_offset
            end = starts[replaced.end_lineno - 1] + replaced.end_col_offset
            found.append(Mutant(room, ".".join(names), source, begin, end, new))
    return found


def engine_file(root: Path, room: str) -> Path:
    """Where the room is, in whatever directory of the engine."""
    (path,) = (root / "plugins" / "module_utils" / "_engine").rglob(f"{room}.py")
    return path


def tests_of(root: Path, room: str) -> list[Path]:
    return [root / "tests" / "unit" / f"test_{name}.py" for name in (room, *ROOMS[room].split())]


def sample(room: str, count: int, seed: int) -> list[Mutant]:
    """The same ones for the same source and ``seed``; all for a ``count`` of 0."""
    found = mutants(room, engine_file(ROOT, room).read_bytes())
    return random.Random(f"{seed} {room}").sample(found, min(count or len(found), len(found)))


def _survivors(place: Path, chosen: list[Mutant]) -> list[Mutant] | None:
    """Those of ``chosen``, which are all of one room, that no test notices; None when a test fails without any."""
    room, source = chosen[0].room, chosen[0].source
    root = place / room
    shutil.copytree(ROOT, root, symlinks=True, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    begin = time.monotonic()
    if _is_noticed(root, room, source, _BASELINE_SECONDS):
        return None
    limit_seconds = 30 + 3 * (time.monotonic() - begin)
    return [each for each in chosen if not _is_noticed(root, room, each.mutated, limit_seconds)]


def _is_noticed(root: Path, room: str, content: bytes, timeout_seconds: float) -> bool:
    """Whether in the copy ``root`` a test of ``room`` fails with this content, or does not end in time."""
    path = engine_file(root, room)
    path.write_bytes(content)
    # A file of the same size, written within the same second, would be taken for the one that was compiled before.
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", *map(str, tests_of(root, room))]
    environment = {**os.environ, "TMPDIR": str(root.parent)}
    with open(os.devnull, "r+b") as nothing:
        process = subprocess.Popen(
            words, cwd=root, env=environment, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        )
    try:
        return process.wait(timeout_seconds) != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description="Say which mutants of the code no test notices, and which are new.")
    parser.add_argument("--rooms", default=",".join(ROOMS), help="which rooms, with commas between")
    parser.add_argument("--sample", type=int, default=12, help="how many mutants of each room; 0 is all of them")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another sample")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many rooms at once")
    wanted = parser.parse_args()
    known, begin = KNOWN.read_text(encoding="utf-8"), time.monotonic()
    chosen = [sample(room, wanted.sample, wanted.seed) for room in wanted.rooms.split(",")]
    survived, new, broken = 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="mutation-") as name, ThreadPoolExecutor(wanted.processes) as pool:
        # As /tmp is: tests become other users.
        os.chmod(name, 0o1777)
        running = {pool.submit(_survivors, Path(name), each): each for each in chosen}
        for future in as_completed(running):
            each, survivors = running[future], future.result()
            if survivors is None:
                broken += 1
                print(f"{each[0].room}: a test fails without any mutant: run them first", flush=True)
                continue
            print(f"{each[0].room}: {len(each) - len(survivors)} of {len(each)} noticed", flush=True)
            rows = [mutant.row for mutant in survivors]
            print("".join(f"{'' if row in known else 'NEW '}{row}\n" for row in rows), end="", flush=True)
            survived, new = survived + len(rows), new + sum(row not in known for row in rows)
    minutes = (time.monotonic() - begin) / 60
    total = sum(map(len, chosen))
    print(f"{total} mutants, {survived} survived, {new} of them not in {KNOWN.name}; {minutes:.0f} minutes")
    return 1 if new or broken else 0


if __name__ == "__main__":
    sys.exit(main())
