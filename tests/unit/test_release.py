# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make release-check` refuses: the same small checkout, each time with one thing that is wrong."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from support import release

ROOT = Path(__file__).resolve().parents[2]
LICENCE = "# SPDX-License-Identifier: GPL-3.0-or-later\n"
ENGINE = "plugins/module_utils/_engine/floor/manifest.py"
MODULE = "plugins/modules/sqlite_backup.py"
ROLE = "roles/sqlite_backup/meta/argument_specs.yml"
FRAGMENT = "changelogs/fragments/1.yml"
FILES = {
    "galaxy.yml": "name: backup\nversion: 1.2.3\n",
    "README.md": f"{LICENCE}This is version 1.2: it works.\n",
    ENGINE: f'{LICENCE}\nCOLLECTION_VERSION = "1.2.3"\n',
    MODULE: f"{LICENCE}version_added: 0.9.0\noptions:\n  a:\n    version_added: 1.2.3\n",
    ROLE: f'{LICENCE}main:\n  version_added: "1.2.0"  # the one before\n',
    FRAGMENT: "bugfixes:\n  - sqlite_backup - the option ``a`` (new) works.\n",
    "changelogs/changelog.yaml": "ancestor: null\nreleases:\n  1.2.2:\n    release_date: '2025-01-01'\n",
    "meta/execution-environment.yml": f"{LICENCE}dependencies:\n  system: bindep.txt\n",
    "bindep.txt": LICENCE,
    "docs/format.md": LICENCE,
    "docs/site/conf.py": LICENCE,
    "LICENSES/GPL.txt": "GPL\n",
    "COPYING": "GPL\n",
    "CONTRIBUTING.md": LICENCE,
    "SECURITY.md": LICENCE,
}
CHANGELOG = "# Release Notes\n\n## v1\\.2\\.3\n\n* one \\- fixed\\.\n\n## v1\\.2\\.2\n\n* one \\- fixed\\.\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        put(tmp_path, name, content)
    return tmp_path


def put(checkout: Path, name: str, content: str) -> None:
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text(content, encoding="utf-8")


def replace(checkout: Path, name: str, old: str, new: str) -> None:
    assert old in FILES[name]
    put(checkout, name, FILES[name].replace(old, new))


def test_this_checkout() -> None:
    assert [*release.disagreements(ROOT), *release.fragment_problems(ROOT)] == []


def test_nothing_is_wrong(checkout: Path) -> None:
    assert release.main(["before", str(checkout)]) == 0


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("galaxy.yml", "1.2.3", "1.2.4", f"{ENGINE}: COLLECTION_VERSION is 1.2.3, and galaxy.yml says 1.2.4."),
        ("galaxy.yml", "1.2.3", "1.2", "galaxy.yml: the version is '1.2', not three numbers such as 1.2.3."),
        (ENGINE, "1.2.3", "1.2.2", f"{ENGINE}: COLLECTION_VERSION is 1.2.2, and galaxy.yml says 1.2.3."),
        (ENGINE, "COLLECTION_", "OTHER_", "plugins/module_utils/_engine: there is no COLLECTION_VERSION."),
        ("README.md", "1.2", "1.1", "README.md: it tells of version 1.1, and galaxy.yml says 1.2.3."),
        (MODULE, "1.2.3", "1.10.0", f"{MODULE}:5: version_added is 1.10.0, which is later than 1.2.3 of galaxy.yml."),
        (ROLE, "1.2.0", "2.0.0", f"{ROLE}:3: version_added is 2.0.0, which is later than 1.2.3 of galaxy.yml."),
        (ROLE, '"1.2.0"', "next", f"{ROLE}:3: version_added is 'next', not three numbers such as 1.2.3."),
        (FRAGMENT, "``a``", "O(a)", f"{FRAGMENT}:2: O(a) is markup of modules, and would be told so; write ``a``."),
        (
            "changelogs/changelog.yaml",
            "1.2.2",
            "1.2.3",
            "changelogs/changelog.yaml: 1.2.3 is released already, and 1.2.3 of galaxy.yml is not later.",
        ),
    ],
)
def test_before(checkout: Path, name: str, old: str, new: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    replace(checkout, name, old, new)

    assert release.main(["before", str(checkout)]) == 1

    assert capsys.readouterr().err.splitlines() == [told]


def test_changelog(checkout: Path) -> None:
    (checkout / FRAGMENT).unlink()
    assert [*release.changelog_problems(checkout)] == ["CHANGELOG.md: it does not begin with 1.2.3."]

    put(checkout, "CHANGELOG.md", CHANGELOG)
    assert [*release.changelog_problems(checkout)] == []

    put(checkout, "CHANGELOG.md", CHANGELOG.replace("* one", "* one \\- fixed\\.\n* one", 1))
    assert [*release.changelog_problems(checkout)] == ["CHANGELOG.md: it tells 2 times: * one - fixed."]

    put(checkout, "CHANGELOG.md", CHANGELOG.replace("2\\.3", "2\\.4"))
    put(checkout, "changelogs/fragments/2.md", "bugfixes: []\n")
    assert [*release.changelog_problems(checkout)] == [
        "changelogs/fragments/2.md: it was not taken into the changelog; its name must end with .yml.",
        "CHANGELOG.md: it does not begin with 1.2.3.",
    ]


def test_artifact(checkout: Path) -> None:
    (checkout / FRAGMENT).unlink()
    put(checkout, "CHANGELOG.md", CHANGELOG)
    published = {name for name in FILES if not name.startswith("docs/site/")} - {"galaxy.yml", FRAGMENT}
    contents = {
        **{name: (checkout / name).read_text(encoding="utf-8") for name in (*published, "CHANGELOG.md")},
        "MANIFEST.json": json.dumps({"collection_info": {"version": "1.2.3"}}),
        "FILES.json": "{}",
        ".ansible-lint": LICENCE,
    }

    def problems(changed: dict[str, str], *missing: str) -> list[str]:
        kept = {**contents, **changed}
        artifact = build(checkout / "a.tar.gz", {name: kept[name] for name in kept if name not in missing})
        return [each.removeprefix("a.tar.gz: ") for each in release.artifact_problems(checkout, artifact)]

    assert problems({}) == []
    missing = ["CHANGELOG.md", "LICENSES/GPL.txt", "bindep.txt", "docs/format.md", MODULE]
    assert problems({}, *missing) == [f"{name} is missing." for name in missing]
    rubbish = [".hypothesis/x", "tests/__pycache__/a.txt", "tests/left.db", "tests/output/log.txt"]
    assert problems(dict.fromkeys(rubbish, LICENCE)) == [f"{name} does not belong there." for name in rubbish]
    assert problems({"tests/a.py": ""}) == ["tests/a.py has no licence line."]
    assert problems({"MANIFEST.json": "{}"}) == ["it is version None, and galaxy.yml says 1.2.3."]


def build(artifact: Path, contents: dict[str, str]) -> Path:
    with tarfile.open(artifact, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return artifact
