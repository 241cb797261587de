# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sqlite_backup on a host that has it: little is run when nothing differs, and what differs is mended.

The host is a container with systemd and cron. Each way to set backups up has databases of its own there, each drift
hurts one of them, and one run must mend all.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from integration import containers, harness
from integration.containers import Host

MOST_MODULES = 8
# Every file and directory of the role but what backups write: kind, mode, owner, content; then the schedules.
LOOK = r"""
shopt -s nullglob
cd /etc/systemd/system
all=(/etc/sqlite-backup* /etc/sqlite-backup*/* /etc/sqlite-backup*/databases.d/* /var/backups/sqlite*/ \
    /var/backups/sqlite*/* /etc/cron.d/sqlite-backup-* /etc/systemd/system/sqlite-backup-* \
    /etc/systemd/system/timers.target.wants/sqlite-backup-* ~dev/.config/sqlite-backup ~dev/.config/sqlite-backup/* \
    ~dev/.config/sqlite-backup/databases.d/* ~dev/.local/share/sqlite-backup ~dev/.local/share/sqlite-backup/*)
stat --format='%n %F %a %U:%G' "${all[@]}" 2>/dev/null
sha256sum "${all[@]}" 2>/dev/null
printf '%s has backups\n' {/var/backups/sqlite*,~dev/.local/share/sqlite-backup}/*/*Z-*/manifest.json |
  sed 's:/[^/]*Z-[^ ]*::'
timers=(sqlite-backup-*.timer)
paste -d ' ' <(printf '%s\n' "${timers[@]}") <(systemctl is-enabled "${timers[@]}" 2>&1)
paste -d ' ' <(printf '%s\n' "${timers[@]}") <(systemctl is-active "${timers[@]}" 2>&1)
systemctl show --property=Id,TimersCalendar "${timers[@]}" | sed 's/ next_elapse=.*//' | awk -v RS= '{ $1 = $1; print }'
echo "cron $(systemctl is-active cron)"
crontab -u dev -l | sed -n '/^#/{N;p}' | tr '\n' ' ' | sed 's/#Ansible/\n&/g'
"""

CONFIG = "/etc/sqlite-backup/databases.d"
UNITS = "/etc/systemd/system"
# What happens to the database $db, in a shell on the host.
OF_CONFIGURATIONS = {
    "mode": f"chmod 0644 {CONFIG}/$db.json",
    "owner": f"chown app {CONFIG}/$db.json",
    "group": f"chgrp app {CONFIG}/$db.json",
    "content": f"sed -i s/3d/9d/ {CONFIG}/$db.json",
    "link": f"mv {CONFIG}/$db.json /root/; ln -s /root/$db.json {CONFIG}/",
    "removed": f"rm {CONFIG}/$db.json",
}
OF_DIRECTORIES = {
    "mode": "chmod 0750 /var/backups/sqlite/$db",
    "group": "chgrp app /var/backups/sqlite/$db",
    "owner": "chown app /var/backups/sqlite/$db",
    "shared by all": "chmod 0755 /var/backups/sqlite; chown app /etc/sqlite-backup",
    "removed": "rm -r /var/backups/sqlite/$db /etc/sqlite-backup/seen.d",
    "empty": "rm -r /var/backups/sqlite/$db/*Z-*",
}
OF_ANOTHER_USER = {
    "configuration": "chown root /etc/sqlite-backup-app/databases.d/$db.json",
    "repository": "chgrp root /var/backups/sqlite-app/$db",
}
OF_UNITS = {
    "mode": f"chmod 0600 {UNITS}/sqlite-backup-$db.service",
    "owner": f"chown app {UNITS}/sqlite-backup-$db.service",
    "service": f"echo Nice=1 >>{UNITS}/sqlite-backup-$db.service",
    "timer": f"sed -i 's/^OnCalendar=.*/OnCalendar=*-01-01/' {UNITS}/sqlite-backup-$db.timer; systemctl daemon-reload",
    "link": f"mv {UNITS}/sqlite-backup-$db.timer /root/; ln -s /root/sqlite-backup-$db.timer {UNITS}/",
    "removed": f"rm {UNITS}/sqlite-backup-$db.timer",
    "stopped": "systemctl stop sqlite-backup-$db.timer",
    "disabled": "systemctl disable sqlite-backup-$db.timer",
    "not linked": f"rm {UNITS}/timers.target.wants/sqlite-backup-$db.timer",
}
OF_CRON = {
    "mode": "chmod 0600 /etc/cron.d/sqlite-backup-$db",
    "content": "echo >>/etc/cron.d/sqlite-backup-$db",
    "link": "mv /etc/cron.d/sqlite-backup-$db /root/; ln -s /root/sqlite-backup-$db /etc/cron.d/",
    "removed": "rm /etc/cron.d/sqlite-backup-$db",
    "cron stopped": "systemctl stop cron",
}
OF_CRONTABS = {
    "command": 'crontab -u dev -l | sed "s/ backup $db / backup other /" | crontab -u dev -',
    "hour": 'crontab -u dev -l | sed "/ backup $db /s/ 7 [*]/ 8 */" | crontab -u dev -',
    "removed": 'crontab -u dev -l | grep -v " backup $db " | crontab -u dev -',
    "comment": 'crontab -u dev -l | grep -v "Ansible.* $db$" | crontab -u dev -',
    "mode": "chmod 0644 ~dev/.config/sqlite-backup/databases.d/$db.json",
    "directory": "chmod 0755 ~dev/.local/share/sqlite-backup/$db",
}


@dataclass(frozen=True)
class Kind:
    """A way to set backups up: with which variables, how its databases are called, and what may happen there.

    The drifts of one dictionary happen each to another database; those of two meet in one, and hurt other files.
    """

    prefix: str
    variables: dict[str, Any]
    drifts: tuple[dict[str, str], ...]

    @property
    def databases(self) -> list[str]:
        return [f"{self.prefix}{number}" for number in range(max(map(len, self.drifts)))]


SYSTEMD = {"sqlite_backup_scheduler": "systemd"}
KINDS = {
    "timers": Kind("a", SYSTEMD, (OF_CONFIGURATIONS, OF_DIRECTORIES, OF_UNITS)),
    "another user": Kind("d", {**SYSTEMD, "sqlite_backup_user": "app"}, (OF_ANOTHER_USER,)),
    "cron": Kind("e", {}, (OF_CRON,)),
    "crontab": Kind("f", {"sqlite_backup_profile": "development", "ansible_user": "dev"}, (OF_CRONTABS,)),
}


class Provisioned:
    """A host, and how the role is applied to it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._folder = host.machine.folder

    def provision(self, kind: Kind, *flags: str, databases: int | None = None) -> tuple[int, list[str]]:
        """How many tasks changed something, and the modules that were run."""
        given = {
            "sqlite_backup_databases": [{"name": each, "path": "/srv/a.db"} for each in kind.databases[:databases]],
            "sqlite_backup_defaults": {"keep_within": "3d"},
            "sqlite_backup_unlisted": "ignore",
            **kind.variables,
        }
        file, modules = self._folder / "given.json", self._folder / "modules.txt"
        file.write_text(json.dumps(given), encoding="utf-8")
        modules.unlink(missing_ok=True)
        settings = {
            "ANSIBLE_CALLBACKS_ENABLED": "executions,payloads",
            "ANSIBLE_CALLBACK_PLUGINS": str(harness.CALLBACKS[-1]),
            "EXECUTIONS_FILE": str(modules),
        }
        playbook = f"{harness.NAMESPACE}.provision_backups"
        words = ["ansible-playbook", "-i", f"{self.host.machine.names[0]},", "-e", f"@{file}", *flags, playbook]
        environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
        done = self.host.machine.run(f"{environment} {shlex.join(words)}")
        assert done.code == 0, done.output
        (changed,) = re.findall(r"changed=(\d+)", done.output)
        return int(changed), harness.executed(modules)

    def look(self) -> set[str]:
        return {*self.host.must(LOOK).splitlines()}

    def hurt(self, kind: Kind) -> None:
        """Each database in its own ways, seen to be hurt."""
        seen = [self.look()]
        for drifts in kind.drifts:
            for database, (name, drift) in zip(kind.databases, drifts.items(), strict=False):
                self.host.must(f"db={database}; {drift}")
                seen.append(self.look())
                assert seen[-1] != seen[-2], name


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioned]:
    containers.skip_without()
    with containers.started(tmp_path_factory.mktemp("again"), "again", user="root") as started:
        started.must(
            "useradd --create-home dev; useradd app; python3 /opt/support/agent_db.py /srv/a.db;"
            "chmod 0777 /srv; chmod 0666 /srv/a.db"
        )
        yield Provisioned(started)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", KINDS)
def test_little_is_run_and_what_differs_is_mended(host: Provisioned, name: str) -> None:
    kind = KINDS[name]
    host.provision(kind)

    (changed, all_modules), (_changed, modules) = (host.provision(kind, databases=each) for each in (None, 1))

    assert changed == 0
    assert len(modules) <= MOST_MODULES
    assert all_modules == modules

    before = host.look()
    host.hurt(kind)
    hurt = host.look()
    told, _modules = host.provision(kind, "--check", "--diff")

    assert host.look() == hurt

    changed, _modules = host.provision(kind)

    assert host.look() ^ before == set()
    assert changed == told
