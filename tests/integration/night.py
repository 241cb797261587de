# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each row of the table "At 3 a.m.": what is seen is really made, then is done what the row says, and no more."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from integration.walk import AGENT, BACKUP_ID, BACKUPS, CONFIG, REPOSITORY, Walk, last_id, one

from support.guides import Row

HURT = "/usr/bin/python3 /opt/tools/hurt.py"
APPLICATION = (
    "systemd-run --quiet --unit=ci-fixer --uid=ci-fixer"
    f" /usr/bin/python3 /opt/support/writer.py --pause=0.2 --seconds=1e6 {AGENT}"
)


def start_application(walk: Walk) -> None:
    before = _commits(walk)
    walk.host.must(APPLICATION)
    end = time.monotonic() + 30
    while _commits(walk) == before:
        assert time.monotonic() < end, "the application does not write"
        time.sleep(0.2)


def stop_application(walk: Walk) -> None:
    walk.host.must("systemctl stop ci-fixer")


def _commits(walk: Walk) -> str:
    return walk.host.must(f"sqlite3 {AGENT} 'SELECT count(*) FROM AgentRun'")


def _changed(walk: Walk) -> None:
    """Something that only happened now, and wrongly, as a person sees it afterwards."""
    statement = f"UPDATE AgentRun SET status = '{time.time_ns()}' WHERE rowid = 7"
    walk.host.must(f'sudo -u ci-fixer sqlite3 {AGENT} "{statement}"')


def _backed_up(walk: Walk, words: str = "") -> str:
    """Back up content that was never there before; the digest of its rows."""
    _changed(walk)
    walk.host.must(f"sqlite-backup backup agent {words}")
    return walk.rows()


def _expect(walk: Walk, good: str) -> None:
    assert walk.rows() == good
    walk.host.must(f'test "$(stat -c %U {AGENT})" = ci-fixer')


def _configure(walk: Walk, **options: Any) -> str:
    """Set options of the database, None takes one away; what was there before."""
    before = walk.host.must(f"cat {CONFIG}")
    content = {**json.loads(before), **options}
    _write(walk, json.dumps({name: value for name, value in content.items() if value is not None}))
    return before


def _write(walk: Walk, content: str) -> None:
    walk.host.must(f"cat >{CONFIG} <<'END'\n{content}\nEND")


def _newest(walk: Walk) -> str:
    """The directory of the newest backup."""
    listed = json.loads(walk.host.must("sqlite-backup list agent --json"))
    return f"{REPOSITORY}/{listed['results'][0]['repository']['backups'][-1]['id']}"


def _flip(walk: Walk, directory: str) -> None:
    """Turn one bit of what is stored; done twice, it is as it was."""
    program = (
        "import glob, sys; (name,) = glob.glob(sys.argv[1] + '/*.zst'); stream = open(name, 'r+b');"
        "stream.seek(40); byte = stream.read(1)[0]; stream.seek(40); stream.write(bytes([byte ^ 1]))"
    )
    walk.host.must(f'/usr/bin/python3 -c "{program}" {directory}')


def _write_garbage(walk: Walk) -> None:
    """Over the first page of a table, as a disk or a careless program does."""
    page = walk.host.must(f"sqlite3 {AGENT} \"SELECT rootpage FROM sqlite_master WHERE name = 'AgentRun'\"").strip()
    walk.host.must(f"dd if=/dev/urandom of={AGENT} bs=4096 seek={int(page) - 1} count=1 conv=notrunc status=none")


def malformed(walk: Walk, row: Row) -> None:
    verify, restore = row.commands
    good = _backed_up(walk)
    _write_garbage(walk)

    assert "malformed" in walk.host.run(f"sqlite3 {AGENT} 'SELECT * FROM AgentRun'").output
    walk.run(verify, code=12)
    walk.run(restore)

    _expect(walk, good)


def gone_or_empty(walk: Walk, row: Row) -> None:
    (restore,) = row.commands
    for loss in (f"rm {AGENT}", f": >{AGENT}"):
        good = _backed_up(walk)
        walk.host.must(loss)

        walk.run(restore)

        _expect(walk, good)


def since_a_known_time(walk: Walk, row: Row) -> None:
    by_utc, by_clock = row.commands
    for command, zone, shown, printed in (
        (by_utc, "-u", "2025-12-30T01:55:00Z", "+%Y-%m-%dT%H:%M:%SZ"),
        (by_clock, "", "2025-12-30 02:55", "+%Y-%m-%d %H:%M:%S"),
    ):
        good = _backed_up(walk)
        time.sleep(1.1)
        known = walk.host.must(f"date {zone} '{printed}'").strip()
        time.sleep(1.1)
        _backed_up(walk)

        assert shown in command
        walk.run(command.replace(shown, known))

        _expect(walk, good)


def nobody_knows_since_when(walk: Walk, row: Row) -> None:
    listing, look, restore = row.commands
    good, wanted = _backed_up(walk), _newest(walk).rsplit("/", 1)[1]
    _backed_up(walk)

    assert wanted in walk.run(listing)
    walk.run(look, ID=wanted)
    assert walk.host.must("sqlite3 /root/look.db .dump | sha256sum; rm /root/look.db") == good
    walk.run(restore, ID=wanted)

    _expect(walk, good)


def mistaken(walk: Walk, row: Row) -> None:
    (undo,) = row.commands
    _backed_up(walk)
    _changed(walk)
    good = walk.rows()
    walk.host.must("sqlite-backup restore agent")
    assert walk.rows() != good

    walk.run(undo)

    _expect(walk, good)


def held_apart(walk: Walk, row: Row) -> None:
    restore, accept = row.commands
    good = _backed_up(walk)
    anew = f"rm {AGENT}; sudo -u ci-fixer sqlite3 {AGENT} 'CREATE TABLE Other(id)'"
    warned = walk.host.must(f"{anew}; sqlite-backup backup agent")
    other = walk.rows()

    walk.run(restore, ID=_good_one(warned))
    _expect(walk, good)
    walk.host.must("sqlite-backup backup agent")

    walk.host.must(f"{anew}; sqlite-backup backup agent")
    directory = _newest(walk)
    assert "accepted" in walk.run(accept)
    assert walk.rows() == other
    walk.host.must(f"sqlite-backup restore agent --backup {_good_one(warned)}")
    walk.host.must(f"sqlite-backup backup agent --force-identity; rm -r {directory}")


def _good_one(warned: str) -> str:
    return one(r"(?s)(?:restore[^.]*|good backup is )(\d{8}T\d{6}Z-\w+)", warned)


def degraded(walk: Walk, row: Row) -> None:
    status, verify = row.commands
    _backed_up(walk)
    directory = _newest(walk)
    _backed_up(walk, "--type full")
    _flip(walk, directory)
    walk.run(verify, code=13)

    assert directory.rsplit("/", 1)[1] in walk.run(status, code=3)
    _flip(walk, directory)  # as it comes back from off-site
    walk.run(verify)

    walk.run(status)


def corrupt(walk: Walk, row: Row) -> None:
    (restore,) = row.commands
    good = _backed_up(walk)
    _write_garbage(walk)
    assert walk.host.run("sqlite-backup backup agent").code == 12
    bad = _newest(walk).rsplit("/", 1)[1]

    assert bad in walk.run(restore), "it says what was passed over"

    _expect(walk, good)
    assert re.search(rf"{bad}.* suspect", walk.host.must("sqlite-backup list agent"))
    walk.host.must("sqlite-backup backup agent")


def needs_recovery(walk: Walk, row: Row) -> None:
    (backup,) = row.commands
    walk.host.must(f"sudo -u ci-fixer sqlite3 {AGENT} 'PRAGMA journal_mode = DELETE'")
    good = _backed_up(walk)
    walk.host.must(f"sudo -u ci-fixer {HURT} journal {AGENT}")
    assert "recover" in walk.run(backup, code=12)

    assert walk.host.must(f"sudo -u ci-fixer sqlite3 {AGENT} .dump | sha256sum") == good, "as the application opens it"
    walk.run(backup)

    walk.host.must(f"sudo -u ci-fixer sqlite3 {AGENT} 'PRAGMA journal_mode = WAL'")


def damaged(walk: Walk, row: Row) -> None:
    restore, backup = row.commands
    good = _backed_up(walk, "--type full")
    _backed_up(walk, "--type full")
    bad = _newest(walk)
    _flip(walk, bad)
    _changed(walk)
    said = walk.host.run("sqlite-backup restore agent")
    assert said.code == 13, said.output
    printed = one(rf"(sqlite-backup restore agent --backup {BACKUP_ID.pattern})", said.output)
    assert printed == restore.replace("ID", last_id(printed))

    walk.run(restore, ID=last_id(printed))
    _expect(walk, good)
    walk.run(backup)

    _changed(walk)
    walk.host.must("sqlite-backup restore agent")
    _expect(walk, good)
    walk.host.must(f"rm -r {bad}")


def wrong_key(walk: Walk, row: Row) -> None:
    assert row.commands == []
    public = walk.host.must(
        "for name in own other; do age-keygen -o /root/$name.key 2>/dev/null; done; age-keygen -y /root/own.key"
    )
    encryption = {"method": "age", "recipients": [public.strip()]}
    before = _configure(walk, encryption=encryption, identity_file="/root/other.key")
    good = _backed_up(walk)
    _changed(walk)
    assert walk.host.run("sqlite-backup restore agent").code == 14

    assert f"`identity_file` or `passphrase_file` in `{CONFIG}`" in row.do
    _configure(walk, identity_file="/root/own.key")
    walk.host.must("sqlite-backup restore agent")

    _expect(walk, good)
    bad = _newest(walk)
    _write(walk, before)
    walk.host.must(f"sqlite-backup backup agent; rm -r {bad}")


def locked(walk: Walk, row: Row) -> None:
    assert row.commands == []
    before = _configure(walk, lock_timeout="1s")
    walk.host.must(f"systemd-run --quiet --unit=hangs {HURT} lock {REPOSITORY}; sleep 1")
    _changed(walk)
    said = walk.host.run("sqlite-backup backup agent")
    assert said.code == 15, said.output
    assert walk.host.must("systemctl show --property=MainPID --value hangs").strip() in said.output

    walk.host.must("systemctl stop hangs")
    walk.host.must("sqlite-backup backup agent")
    _write(walk, before)


def full_disk(walk: Walk, row: Row) -> None:
    look, plan = row.commands
    _backed_up(walk)
    walk.host.must(f"mount -t tmpfs -o size=32m tmpfs /mnt; cp -a {BACKUPS}/. /mnt; mount --move /mnt {BACKUPS}")
    old = walk.host.must(f"ls {REPOSITORY}")
    _changed(walk)
    walk.host.must(f"{HURT} fill {BACKUPS}/filler")
    said = walk.host.run("sqlite-backup backup agent --type full")
    assert said.code == 16, said.output

    assert "100%" in walk.run(look)
    assert "agent: " in walk.run(plan)
    assert walk.host.must(f"ls {REPOSITORY}") == old
    walk.host.must(f"rm {BACKUPS}/filler")
    walk.host.must("sqlite-backup backup agent --type full")

    walk.host.must("sqlite-backup verify agent")
    # Back to the disk: `doctor` knows that a tmpfs is none.
    walk.host.must(f"mount --bind / /mnt; cp -a {BACKUPS}/. /mnt{BACKUPS}; umount /mnt {BACKUPS}")


def open_in_a_process(walk: Walk, row: Row) -> None:
    assert row.commands == []
    good = _backed_up(walk)
    start_application(walk)
    said = walk.host.run("sqlite-backup restore agent")
    assert said.code == 18, said.output
    assert walk.host.must("systemctl show --property=MainPID --value ci-fixer").strip() in said.output

    stop_application(walk)
    walk.host.must("sqlite-backup restore agent")

    _expect(walk, good)


def suspect(walk: Walk, row: Row) -> None:
    (restore,) = row.commands
    good = _backed_up(walk)
    _write_garbage(walk)
    assert walk.host.run("sqlite-backup backup agent").code == 12
    bad = _newest(walk).rsplit("/", 1)[1]
    said = walk.host.run(f"sqlite-backup restore agent --backup {bad}")
    assert said.code == 18, said.output

    walk.host.must(one(r"(sqlite-backup restore agent .*--dest .*)", said.output))
    walk.host.must(f"test -s {AGENT}.suspect; rm {AGENT}.suspect")
    walk.run(restore)

    _expect(walk, good)
    walk.host.must("sqlite-backup backup agent")


def of_another(walk: Walk, row: Row) -> None:
    (doctor,) = row.commands
    before = _configure(walk, path="/srv/ci-fixer/metrics.db")
    backups = walk.host.must(f"ls {REPOSITORY}")
    said = walk.host.run("sqlite-backup backup agent")
    assert (said.code, AGENT in said.output) == (18, True), said.output

    assert AGENT in walk.run(doctor, code=17)
    assert walk.host.must(f"ls {REPOSITORY}") == backups
    _write(walk, before)

    walk.run(doctor)


def missed(walk: Walk, row: Row) -> None:
    timer, enable, cron, backup = row.commands
    _backed_up(walk)
    walk.host.must("systemctl disable --now sqlite-backup-agent.timer")
    before = _configure(walk, rpo="1s")  # nobody waits an hour here
    time.sleep(2.1)
    walk.host.must("sqlite-backup status agent; test $? = 30")

    walk.run(timer, code=3)
    walk.run(enable)
    walk.run(timer)
    assert "sqlite-backup-agent.timer" in walk.host.must("systemctl list-timers")
    walk.run(cron)
    walk.run(backup)

    _write(walk, before)
    walk.host.must("sqlite-backup status agent")


def failing(walk: Walk, row: Row) -> None:
    status, backup = row.commands
    _backed_up(walk)
    walk.host.must("mv /srv/ci-fixer/prisma/schema.prisma /root/")
    _changed(walk)
    assert walk.host.run("sqlite-backup backup agent").code != 0

    assert "/srv/ci-fixer/prisma/schema.prisma" in walk.run(status, code=31)
    walk.host.must("mv /root/schema.prisma /srv/ci-fixer/prisma/")
    walk.run(backup)

    walk.run(status)


def no_runner(walk: Walk, row: Row) -> None:
    """Its block comes further below, as steps of the page; `without_the_runner` looks at the end."""
    assert row.commands == []
    assert "(#without-the-runner)" in row.do


# In the order of the page.
ROWS = {
    'the application says "database disk image is malformed"': malformed,
    "the file is gone, or empty": gone_or_empty,
    "wrong data since a known time": since_a_known_time,
    "wrong data, nobody knows since when": nobody_knows_since_when,
    "the restore was a mistake": mistaken,
    "a backup is held apart: perhaps another database": held_apart,
    "code 3: degraded": degraded,
    "code 12: the database is corrupt": corrupt,
    "code 12: needs recovery": needs_recovery,
    "code 13: the backup is damaged": damaged,
    "code 14: key or passphrase wrong": wrong_key,
    "code 15: repository locked": locked,
    "code 16: not enough space": full_disk,
    "code 18: the database is open": open_in_a_process,
    "code 18: the backup is suspect": suspect,
    "code 18: another database, or its repository": of_another,
    "code 30: the RPO is missed": missed,
    "code 31: the last run failed": failing,
    "the runner does not start at all": no_runner,
}


class WithoutTheRunner:
    """The block with that name: Python is gone, and a crash left a `-wal` with what nobody wants."""

    def __init__(self) -> None:
        self.good = ""
        self.id = ""

    def begin(self, walk: Walk, command: str) -> None:
        self.good = _backed_up(walk, "--type full")
        walk.host.must(f"sudo -u ci-fixer {HURT} crash {AGENT}; test -s {AGENT}-wal")
        walk.host.must("mv /usr/bin/python3.11 /usr/bin/away")
        assert walk.host.run("sqlite-backup status").code == 127
        self.id = last_id(walk.run(command))

    def unpack(self, walk: Walk, command: str) -> None:
        walk.run(command, ID=self.id)

    def move(self, walk: Walk, command: str) -> None:
        walk.run(command, code=1)  # not all of them exist

    def end(self, walk: Walk, command: str) -> None:
        walk.run(command)
        _expect(walk, self.good)
        walk.host.must("mv /usr/bin/away /usr/bin/python3.11; sqlite-backup backup agent")
        _expect(walk, self.good)
