# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the images of the hosts that Molecule starts, with Debian's own bootstrap. What is built already is kept.

    python3 extensions/molecule/images/build.py --scratch .build/images 11 12 13

Prints one JSON document: which image belongs to each release, and which of them are new. It needs root, podman and
debootstrap. Packages come from where this machine gets its own, in the way that this machine's apt is set up for.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

RELEASES = {"11": "bullseye", "12": "bookworm", "13": "trixie"}
# What a server has before anybody provisions it. Not zstd, age, gnupg: to install those is up to the role.
PACKAGES = ("ca-certificates", "cron", "dbus", "openssh-server", "python3", "sudo", "systemd", "systemd-sysv")
TEST_PACKAGES = ("faketime",)
DEFAULT_MIRROR = "http://deb.debian.org/debian"
IMAGE = "localhost/sqliteops-debian"
# They would hold apt's lock at a moment of their choice.
MASKED_UNITS = ("apt-daily.timer", "apt-daily-upgrade.timer")
APT_SETTINGS = Path("etc", "apt", "apt.conf.d", "90-of-the-machine")
# One file of keys for every user: whoever starts a host mounts it.
SSH_SETTINGS = Path("etc", "ssh", "sshd_config.d", "keys.conf")
SSH_KEYS = "AuthorizedKeysFile /etc/ssh/authorized_keys .ssh/authorized_keys\n"
# What runs below it ends with it, and its mounts are gone then, however it ends.
CONTAINED = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
CONSTANT_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True)
class Recipe:
    """All that an image of one release depends on."""

    release: str
    mirror: str
    apt_settings: str

    @property
    def image(self) -> str:
        """The name; it tells whether an image was built by this very recipe."""
        digest = hashlib.sha256(Path(__file__).read_bytes())
        digest.update(f"{self.release}\0{self.mirror}\0{self.apt_settings}".encode())
        return f"{IMAGE}:{self.release}-{digest.hexdigest()[:12]}"


def machine_mirror() -> str:
    """Where this machine gets its packages, when it is a Debian."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        system = platform.freedesktop_os_release()
        listing = _output("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)")
        for line in listing.splitlines() if system["ID"] == "debian" else ():
            uri, release, component = line.split()
            if component == "main" and release in (system["VERSION_CODENAME"], "stable"):
                return uri
    return DEFAULT_MIRROR


def machine_apt_settings() -> str:
    """How this machine's apt fetches: proxies, certificates, retries; as lines of an apt.conf."""
    lines = [
        f'Acquire::{scheme}::Proxy "{os.environ[name]}";'
        for scheme, name in (("http", "http_proxy"), ("https", "https_proxy"))
        if os.environ.get(name)
    ]
    if shutil.which("apt-config"):
        dump = _output("apt-config", "dump", "--no-empty", "--format", '%F "%v";%n', "Acquire")
        lines += re.findall(r"^Acquire::(?:https?|Check|Retries|Force|Languages)\b.*", dump, re.MULTILINE)
    return "".join(f"{line}\n" for line in lines)


def build(recipe: Recipe, scratch: Path) -> None:
    """Make the image of one release; nothing is left in ``scratch``, and no image at all when it fails."""
    root = scratch / recipe.release
    _remove(root)
    try:
        packages = ",".join((*PACKAGES, *TEST_PACKAGES))
        suite = RELEASES[recipe.release]
        bootstrap = ("debootstrap", "--variant=minbase", f"--include={packages}", suite, str(root), recipe.mirror)
        _run(*CONTAINED, *bootstrap)
        _finish(root, recipe)
        _import(root, recipe.image)
    finally:
        _remove(root)


def _finish(root: Path, recipe: Recipe) -> None:
    """Make of a system that was just installed one that many hosts can start from."""
    (root / APT_SETTINGS).write_text(recipe.apt_settings, encoding="utf-8")
    (root / SSH_SETTINGS).write_text(SSH_KEYS, encoding="utf-8")
    for name in re.findall(r'"(/[^"]+)"', recipe.apt_settings):
        if Path(name).is_file():
            (root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, root / name[1:])
    (root / "etc" / "machine-id").write_bytes(b"")  # each host gets its own when it starts
    for unit in MASKED_UNITS:
        (root / "etc" / "systemd" / "system" / unit).symlink_to("/dev/null")


def _import(root: Path, image: str) -> None:
    archive = ["tar", "--create", "--directory", str(root), "--exclude=./var/cache/apt/archives/*.deb", "."]
    command = ["podman", "import", "--quiet", "--change", 'CMD ["/sbin/init"]', "-", image]
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as tar:
        # A tar that was cut off has no end, and podman refuses it.
        subprocess.run(command, stdin=tar.stdout, stdout=subprocess.DEVNULL, check=True)
    if tar.returncode:
        _output("podman", "rmi", image)
        raise subprocess.CalledProcessError(tar.returncode, archive)


def _remove(root: Path) -> None:
    # Nothing is mounted below it, or there were a way out of it.
    if any(line.split()[4].startswith(f"{root}/") for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        raise RuntimeError(f"Cannot remove {root}: something is mounted below it. Unmount that first.")
    shutil.rmtree(root, ignore_errors=not root.exists())


def _exists(image: str) -> bool:
    return subprocess.run(["podman", "image", "exists", image], check=False).returncode == 0


def _run(*command: str) -> None:
    """Run a command that talks much; what it said is told only when it fails."""
    env = {**os.environ, **CONSTANT_ENVIRONMENT}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.stderr.buffer.write(done.stdout[-4000:])
        raise subprocess.CalledProcessError(done.returncode, command)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextlib.contextmanager
def _alone(scratch: Path) -> Iterator[None]:
    """Wait for another run that builds in the same directory."""
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the images of Molecule's hosts that are not there yet.")
    parser.add_argument("releases", nargs="+", choices=sorted(RELEASES), help="of Debian")
    parser.add_argument("--scratch", type=Path, required=True, help="a directory to build in, 1 GiB is enough")
    options = parser.parse_args()
    scratch = options.scratch.resolve()
    mirror, apt_settings = machine_mirror(), machine_apt_settings()
    with _alone(scratch), ThreadPoolExecutor() as pool:
        recipes = [Recipe(release, mirror, apt_settings) for release in dict.fromkeys(options.releases)]
        missing = [recipe for recipe in recipes if not _exists(recipe.image)]
        try:
            list(pool.map(build, missing, [scratch] * len(missing)))
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"Cannot build: {error}\n")
            return 1
    images = {recipe.release: recipe.image for recipe in recipes}
    print(json.dumps({"images": images, "built": [recipe.release for recipe in missing]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
