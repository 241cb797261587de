# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of this collection. `nox --list` shows them, `make test` runs them all.

A session whose Python is not installed, or whose hosts cannot be had, is skipped, never failed: `make test` names
those.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent.resolve()
BUILD = ROOT / ".build"
REQUIREMENTS = ROOT / "tests" / "requirements"

# pyenv's shims exist for versions that they then refuse to run, and ansible-test believes whatever is on PATH.
_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
_PATH = [entry for entry in os.environ["PATH"].split(os.pathsep) if not entry.endswith("shims")]
os.environ["PATH"] = os.pathsep.join([*_PATH, *map(str, sorted(_PYENV.glob("versions/3.*/bin")))])

PYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]
# ansible-core: the release that is tested (as in tests/requirements/ansible.txt), and the Pythons that can run it.
CORES = {
    "2.18": ("2.18.19", ["3.11", "3.12", "3.13"]),
    "2.19": ("2.19.14", ["3.11", "3.12", "3.13"]),
    "2.20": ("2.20.10", ["3.12", "3.13", "3.14"]),
    "2.21": ("2.21.5", ["3.13", "3.12", "3.14"]),
}
# What makes hosts in containers.
HOST_PROGRAMS = ["podman", "runc", "debootstrap", "ssh"]
SCENARIOS = ["default", "offsite", "recover", "restore"]
# Names a Windows host of yours, which is no container.
WINDOWS_HOST = "MOLECULE_WINDOWS_HOST"
WINDOWS_SESSION = "molecule-windows"
# What the closing pytest run of `make test` covers, in the environment that nox runs in.
PRIMARY_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PRIMARY_CORE = "2.21" if sys.version_info >= (3, 12) else "2.19"

# What a developer's or a CI machine sets for its own network must not reach the servers that tests start on loopback.
HERMETIC = dict.fromkeys(
    [
        "AWS_CA_BUNDLE",
        *(name for proxy in ("http_proxy", "https_proxy", "all_proxy") for name in (proxy, proxy.upper())),
    ]
)

# One process a core, each with tests of its own.
PARALLEL = ["--numprocesses", "auto", "--dist", "worksteal"]

nox.options.envdir = str(BUILD / "nox")
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "unit"]


def _installed(version: str) -> bool:
    program = shutil.which(f"python{version}")
    return program is not None and subprocess.run([program, "-c", ""], check=False, capture_output=True).returncode == 0


def _python_for(core: str) -> str:
    """Choose the first of the Pythons for this ansible-core that is installed here."""
    pythons = CORES[core][1]
    return next(filter(_installed, pythons), pythons[0])


# `make test` takes the oldest and the newest of all kinds, and the primary ones in its closing run: what works on both
# ends works between them. `nox --session unit integration sanity` takes every one, also with what is `thorough`.
_INSTALLED = [python for python in PYTHONS if _installed(python)]
_ENDS = {*_INSTALLED[:1], *_INSTALLED[-1:], *(python for python in PYTHONS if python not in _INSTALLED)}


def _tags(wanted: bool) -> list[str]:
    return ["test"] if wanted else []


UNIT = [nox.param(each, id=each, tags=_tags(each in _ENDS - {PRIMARY_PYTHON})) for each in PYTHONS]
INTEGRATION = [
    nox.param(_python_for(each), each, id=each, tags=_tags(each in {min(CORES), max(CORES)} - {PRIMARY_CORE}))
    for each in CORES
]
SANITY = [nox.param(_python_for(each), each, id=each, tags=_tags(each in (min(CORES), max(CORES)))) for each in CORES]


def _install(session: nox.Session, name: str) -> None:
    session.install("-r", str(REQUIREMENTS / f"{name}.txt"))


@nox.session(tags=["test"])
def lint(session: nox.Session) -> None:
    """Style, types, YAML and changelog fragments."""
    _install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("yamllint", "--strict", ".")
    session.run("antsibull-changelog", "lint")


@nox.session
@nox.parametrize("python", UNIT)
def unit(session: nox.Session) -> None:
    """The engine on every Python that a managed host may have; what is slow runs once, in the closing pytest run."""
    _install(session, "test")
    session.run("pytest", *PARALLEL, "tests/unit", *(session.posargs or ["-m", "not slow"]), env=HERMETIC)


@nox.session
@nox.parametrize("python,core", INTEGRATION)
def integration(session: nox.Session, core: str) -> None:
    """The modules, roles and playbooks under each supported ansible-core; what is slow runs in the closing run only."""
    _install(session, "test")
    session.install(f"ansible-core=={CORES[core][0]}")
    session.run("pytest", *PARALLEL, "tests/integration", *(session.posargs or ["-m", "not slow"]), env=HERMETIC)


@nox.session
@nox.parametrize("python,core", SANITY)
def sanity(session: nox.Session, core: str) -> None:
    """`ansible-test sanity`, for every Python that is installed and that this ansible-core supports."""
    _install(session, "sanity")
    session.install(f"ansible-core=={CORES[core][0]}")
    # Of this ansible-core alone: another one may be tested at the same time.
    checkout = _copy_checkout(session, BUILD / f"sanity-{core}")
    home = _ansible_test_home(session, BUILD / f"home-{core}")
    with session.chdir(checkout):
        # ansible-test follows no links, and asks git which files there are.
        session.run("git", "init", "--quiet", external=True)
        session.run("git", "add", "--all", external=True)
        session.run("ansible-test", "sanity", *session.posargs, env={"HOME": str(home)})


@nox.session(tags=["test"])
def artifact(session: nox.Session) -> None:
    """Build the collection as it is published, lint what was built, and import it as Galaxy does."""
    _install(session, "artifact")
    _build_artifact(session, _copy_checkout(session, BUILD / "artifact"))


@nox.session(tags=["test"])
def docs(session: nox.Session) -> None:
    """The site of the guides and of what modules, filters and roles say of themselves; a dead link fails it."""
    _install(session, "docs")
    _build_docs(session, _copy_checkout(session, BUILD / "docs"))


@nox.session(name="release-check")
def release_check(session: nox.Session) -> None:
    """Make the release that galaxy.yml names, below .build/release/: changelog, artifact, site. No tag, no upload."""
    for name in ("lint", "artifact", "docs"):
        _install(session, name)
    root = BUILD / "release"
    checkout = _copy_checkout(session, root)
    check = ["python", str(ROOT / "tests" / "support" / "release.py")]
    session.run(*check, "before", str(checkout))
    with session.chdir(checkout):
        session.run("antsibull-changelog", "lint")
        session.run("antsibull-changelog", "release", env={"ANSIBLE_COLLECTIONS_PATH": str(root)})
        session.run("antsibull-changelog", "lint-changelog-yaml", "changelogs/changelog.yaml")
    session.run(*check, "after", str(checkout))
    released = shutil.copytree(checkout, root / "docs" / checkout.relative_to(root))
    artifact = _build_artifact(session, checkout)
    session.run(*check, "artifact", str(released), str(artifact))
    _build_docs(session, released)


@nox.session(tags=["test"])
def molecule(session: nox.Session) -> None:
    """The roles on hosts with systemd, cron and sshd. Words after `--` are Molecule's, such as `converge`."""
    missing = [program for program in HOST_PROGRAMS if not shutil.which(program)]
    if os.geteuid() != 0 or missing:
        session.skip("Only root can start hosts" if not missing else f"Not installed: {', '.join(missing)}")
    _install(session, "molecule")
    if not os.environ.get(WINDOWS_HOST):
        session.log(f"{WINDOWS_SESSION} skipped: {WINDOWS_HOST} is not set")
    env = _molecule_environment()
    words = session.posargs or ["test", "--no-command-borders"]
    named = [words[place + 1] for place, word in enumerate(words[:-1]) if word in ("-s", "--scenario-name")]
    for scenario in named or (["default"] if session.posargs else SCENARIOS):
        env["MOLECULE_EPHEMERAL_DIRECTORY"] = str(BUILD / "molecule" / scenario)
        chosen = [] if named else ["--scenario-name", scenario]
        try:
            session.run("molecule", *words, *chosen, env=env)
        finally:
            # Molecule does so itself, unless it is interrupted.
            if words[0] == "test":
                session.run("molecule", "destroy", "--scenario-name", scenario, env=env, silent=True)


@nox.session(tags=["test"], venv_backend="none")
def windows(session: nox.Session) -> None:
    """The engine on a Windows Python, in Wine. Words after `--` are those of pytest."""
    sys.path[:0] = [str(ROOT / "tests" / "support")]
    import windows as listed
    import wine

    if reason := wine.missing():
        session.skip(reason)
    _link_collection()
    words = session.posargs or ["-m", "not slow and not thorough", *(f"tests/unit/{name}" for name in listed.FILES)]
    session.run(sys.executable, "tests/support/wine.py", "-m", "pytest", *PARALLEL, *words, env=HERMETIC)


@nox.session(name=WINDOWS_SESSION, tags=["test"])
def molecule_windows(session: nox.Session) -> None:
    """The role sqlite_backup on a Windows host of yours. Words after `--` are Molecule's, such as `converge`."""
    if not os.environ.get(WINDOWS_HOST):
        session.skip(f"{WINDOWS_HOST} is not set")
    _install(session, WINDOWS_SESSION)
    collections = _windows_collections(session)
    env = _molecule_environment()
    env |= {name: value for name, value in os.environ.items() if name.startswith("MOLECULE_WINDOWS_")}
    env["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join((str(BUILD / "collections"), str(collections)))
    env["MOLECULE_EPHEMERAL_DIRECTORY"] = str(BUILD / "molecule" / "windows")
    words = session.posargs or ["test", "--no-command-borders"]
    session.run("molecule", *words, "--scenario-name", "windows", env=env)


def _molecule_environment() -> dict[str, str | None]:
    """One in which no setting of the user counts, and the collection is this checkout."""
    _link_collection()
    foreign = (name for name in os.environ if name.startswith(("ANSIBLE_", "MOLECULE_")))
    return {**dict.fromkeys(foreign), "ANSIBLE_COLLECTIONS_PATH": str(BUILD / "collections")}


def _windows_collections(session: nox.Session) -> Path:
    """Where the collections for Windows hosts are; the Makefile gets them."""
    session.run("make", "--silent", f"{BUILD.name}/collections-windows/.ready", external=True)
    return BUILD / "collections-windows"


@nox.session
def mutation(session: nox.Session) -> None:
    """Mutation testing of the code: what no unit test would miss. Words after `--` are those of its script."""
    _install(session, "test")
    session.run("python", "tests/support/mutation.py", *session.posargs, env=HERMETIC)


def _link_collection() -> None:
    """Make what is here importable as a collection."""
    link = BUILD / "collections" / "ansible_collections" / "sqliteops" / "backup"
    link.parent.mkdir(parents=True, exist_ok=True)
    # The tests make the same link, perhaps just now.
    with contextlib.suppress(FileExistsError):
        link.symlink_to(Path("..", "..", "..", ".."), target_is_directory=True)


def _build_artifact(session: nox.Session, checkout: Path) -> Path:
    """Build ``checkout``, a copy in a collections tree. What was built takes its place, and is linted and imported."""
    root = checkout.parents[2]
    windows = _windows_collections(session)
    with session.chdir(root):
        session.run("ansible-galaxy", "collection", "build", "--force", str(checkout))
        (tarball,) = root.glob("*.tar.gz")
        shutil.rmtree(checkout)
        shutil.unpack_archive(tarball, checkout)
    with session.chdir(checkout):
        collections = {"ANSIBLE_COLLECTIONS_PATH": os.pathsep.join((str(root), str(windows)))}
        session.run("ansible-lint", "--profile", "production", "--strict", "--offline", env=collections)
    with session.chdir(root):
        # It would lint once more, and give that three minutes, whatever else the machine does.
        importer = {
            "GALAXY_IMPORTER_ANSIBLE_LOCAL_TMP": str(root / "importer"),
            "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false",
        }
        log = session.run("python", "-m", "galaxy_importer.main", tarball.name, env=importer, silent=True)
    session.log(log)
    complaints = re.findall(r"^(?:WARNING|ERROR|CRITICAL).*", log, flags=re.MULTILINE)
    if complaints:
        session.error(f"galaxy-importer complains {len(complaints)} time(s)")
    return tarball


def _build_docs(session: nox.Session, checkout: Path) -> None:
    """Make the site beside the collections tree that ``checkout``, a copy, is in; what is missing there is an error."""
    root = checkout.parents[2]
    # The linter asks git for the files, and would be told that there are none: the copy is below an ignored directory.
    env = {"ANSIBLE_COLLECTIONS_PATH": str(root), "GIT_CEILING_DIRECTORIES": str(root)}
    # antsibull-docs writes to no directory that others may write to.
    (checkout / "collection").mkdir(mode=0o755)
    shutil.copy2(checkout / "docs" / "site" / "index.md", checkout)
    lint = ["--plugin-docs", "--validate-collection-refs", "self"]
    session.run("antsibull-docs", "lint-collection-docs", *lint, str(checkout), env=env)
    reference = ["--use-current", "--squash-hierarchy", "--fail-on-error", "--dest-dir", str(checkout / "collection")]
    session.run("antsibull-docs", "collection", *reference, "sqliteops.backup", env=env)
    sphinx = ["--quiet", "--fail-on-warning", "-c", str(checkout / "docs" / "site")]
    session.run("sphinx-build", *sphinx, "-d", str(root / "doctrees"), str(checkout), str(root / "html"))
    session.log(f"The site is {root.relative_to(ROOT)}/html/index.html")


def _copy_checkout(session: nox.Session, root: Path) -> Path:
    """Copy what git tracks or would track to its place in a new collections tree below ``root``."""
    copy = root / "ansible_collections" / "sqliteops" / "backup"
    shutil.rmtree(root, ignore_errors=True)
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in session.run(*listing, external=True, silent=True, log=False).rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def _ansible_test_home(session: nox.Session, home: Path) -> Path:
    """Make the home in which ansible-test keeps its virtual environments, with all that its pip needs.

    ansible-test hands HOME and PATH to pip, nothing else: so pip's configuration must be a file. And ansible-test
    downloads a script that bootstraps pip: one that is content with the package index takes its place.
    """
    listing = session.run("python", "-m", "pip", "config", "list", silent=True, log=False)
    # Sorted by scope, so that what the environment says comes first; it has the last word.
    settings = re.findall(r"^[^=]+?\.([\w-]+)=(.*)$", listing, flags=re.MULTILINE)[::-1]
    config = configparser.RawConfigParser()
    config["global"] = {key: ast.literal_eval(value).replace("\n", " ") for key, value in settings}
    pip_conf = home / ".config" / "pip" / "pip.conf"
    pip_conf.parent.mkdir(parents=True, exist_ok=True)
    with pip_conf.open("w", encoding="utf-8") as stream:
        config.write(stream)
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in ("24_2", "25_2"):
        shutil.copy(ROOT / "tests" / "sanity" / "bootstrap_pip.py", cache / f"get_pip_{version}.py")
    return home
