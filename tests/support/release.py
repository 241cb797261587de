# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a checkout, its changelog or a built artifact from being released: a line for each.

As a program, for `make release-check`: `release.py before CHECKOUT`, with fragments still to be released,
`release.py after CHECKOUT`, with them released, and `release.py artifact CHECKOUT FILE`.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_VERSION = re.compile(r"\d+\.\d+\.\d+")
# Documentation of modules marks up like this, and changelogs do not.
_MARKUP = re.compile(r"\b(?:[BCEILMOPUV]|RV|HORIZONTALLINE)\(([^)]*)\)")
_FOLDERS = ["LICENSES", "docs", "meta", "playbooks", "plugins", "roles"]
_FILES = ["CHANGELOG.md", "CONTRIBUTING.md", "COPYING", "README.md", "SECURITY.md", "changelogs/changelog.yaml"]
# Made by `ansible-galaxy collection build`.
_LISTS = ["MANIFEST.json", "FILES.json"]
# For the linters that look at what was built, as Galaxy does.
_HIDDEN = [".ansible-lint", ".yamllint"]
_RUBBISH = re.compile(r"(?:^|/)(?:\..*|__pycache__|output)(?:/|$)|\.(?:db|gz|py[co]|sqlite|sqlite3|zst)$")
_LICENSED = re.compile(r"^(?!CHANGELOG\.md$|LICENSES/).*\.(?:md|py|toml|txt|yml)$")


def version(checkout: Path) -> str:
    """The version that would be released."""
    return _found(r"^version: *(.*)$", checkout / "galaxy.yml")


def disagreements(checkout: Path) -> Iterator[str]:
    """Where another version is told than in galaxy.yml, or one that is still to come."""
    ours = version(checkout)
    if not _VERSION.fullmatch(ours):
        yield f"galaxy.yml: the version is {ours!r}, not three numbers such as 1.2.3."
        return
    engine = checkout / "plugins" / "module_utils" / "_engine"
    told = {
        path: _found(r'^COLLECTION_VERSION = "(.*)"$', path)
        for path in sorted(engine.rglob("*.py"))
        if "\nCOLLECTION_VERSION = " in path.read_text(encoding="utf-8")
    }
    if not told:
        yield "plugins/module_utils/_engine: there is no COLLECTION_VERSION."
    for path, theirs in told.items():
        if theirs != ours:
            yield f"{_name(path, checkout)}: COLLECTION_VERSION is {theirs}, and galaxy.yml says {ours}."
    theirs = _found(r"\bThis is version (\d+\.\d+)\b", checkout / "README.md")
    if theirs != ours.rpartition(".")[0]:
        yield f"README.md: it tells of version {theirs or 'none'}, and galaxy.yml says {ours}."
    yield from _too_new(checkout, ours)


def _too_new(checkout: Path, ours: str) -> Iterator[str]:
    for path in sorted(each for folder in ("plugins", "roles") for each in (checkout / folder).rglob("*")):
        if path.suffix not in (".py", ".yml"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            added = re.match(r" *(?:- )?version_added: *[\"']?([^\"'#]*?)[\"']? *(?:#.*)?$", line)
            if not added:
                continue
            place = f"{_name(path, checkout)}:{number}"
            if not _VERSION.fullmatch(added[1]):
                yield f"{place}: version_added is {added[1]!r}, not three numbers such as 1.2.3."
            elif _numbers(added[1]) > _numbers(ours):
                yield f"{place}: version_added is {added[1]}, which is later than {ours} of galaxy.yml."


def fragment_problems(checkout: Path) -> Iterator[str]:
    """What antsibull-changelog would put into the changelog as it stands there."""
    for path in sorted((checkout / "changelogs" / "fragments").glob("*.y*ml")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for each in _MARKUP.finditer(line):
                place = f"{_name(path, checkout)}:{number}"
                yield f"{place}: {each[0]} is markup of modules, and would be told so; write ``{each[1]}``."


def released_already(checkout: Path) -> Iterator[str]:
    """Why the version in galaxy.yml cannot be the next one."""
    ours = version(checkout)
    if not _VERSION.fullmatch(ours):
        return
    changelog = (checkout / "changelogs" / "changelog.yaml").read_text(encoding="utf-8")
    for theirs in re.findall(r"^  [\"']?(\d+\.\d+\.\d+)[\"']?:", changelog, re.MULTILINE):
        if _numbers(theirs) >= _numbers(ours):
            yield f"changelogs/changelog.yaml: {theirs} is released already, and {ours} of galaxy.yml is not later."


def changelog_problems(checkout: Path) -> Iterator[str]:
    """What is wrong with CHANGELOG.md once the fragments are in it."""
    for path in sorted((checkout / "changelogs" / "fragments").iterdir()):
        yield f"{_name(path, checkout)}: it was not taken into the changelog; its name must end with .yml."
    changelog = checkout / "CHANGELOG.md"
    lines = changelog.read_text(encoding="utf-8").splitlines() if changelog.exists() else []
    heads = [number for number, line in enumerate(lines) if line.startswith("## ")]
    ours = version(checkout)
    newest = lines[heads[0] : [*heads, None][1]] if heads else []
    if not newest or newest[0].replace("\\", "") != f"## v{ours}":
        yield f"CHANGELOG.md: it does not begin with {ours}."
    for line, times in Counter(newest).items():
        if times > 1 and line.startswith("* "):
            text = line.replace("\\", "")
            yield f"CHANGELOG.md: it tells {times} times: {text}"


def artifact_problems(checkout: Path, artifact: Path) -> Iterator[str]:
    """What the file for Galaxy lacks, or holds and should not. ``checkout`` is what it was built from."""
    with tarfile.open(artifact) as archive:
        members = {each.name: archive.extractfile(each) for each in archive if each.isfile()}
        contents = {name: stream.read().decode("utf-8", "replace") for name, stream in members.items() if stream}
    for name in sorted({*_wanted(checkout)} - contents.keys()):
        yield f"{artifact.name}: {name} is missing."
    for name in sorted(contents.keys() - {*_HIDDEN}):
        if _RUBBISH.search(name):
            yield f"{artifact.name}: {name} does not belong there."
        elif _LICENSED.search(name) and "SPDX-License-Identifier: GPL-3.0-or-later" not in contents[name]:
            yield f"{artifact.name}: {name} has no licence line."
    told = json.loads(contents.get("MANIFEST.json", "{}")).get("collection_info", {}).get("version")
    if told != version(checkout):
        yield f"{artifact.name}: it is version {told}, and galaxy.yml says {version(checkout)}."


def _wanted(checkout: Path) -> Iterator[str]:
    yield from (*_FILES, *_LISTS)
    # What an execution environment is made from.
    environment = (checkout / "meta" / "execution-environment.yml").read_text(encoding="utf-8")
    yield from re.findall(r"^  (?:galaxy|python|system): *(\S+)$", environment, re.MULTILINE)
    for folder in _FOLDERS:
        for path in (checkout / folder).rglob("*"):
            name = _name(path, checkout)
            if path.is_file() and not name.startswith("docs/site/") and not _RUBBISH.search(name):
                yield name


def _found(pattern: str, path: Path) -> str:
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else ""


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(".")]


def _name(path: Path, checkout: Path) -> str:
    return path.relative_to(checkout).as_posix()


def main(arguments: list[str]) -> int:
    step, checkout = arguments[0], Path(arguments[1])
    if step == "before":
        problems = [*disagreements(checkout), *released_already(checkout), *fragment_problems(checkout)]
    elif step == "after":
        problems = [*changelog_problems(checkout)]
    else:
        problems = [*artifact_problems(checkout, Path(arguments[2]))]
    for each in problems:
        print(each, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
