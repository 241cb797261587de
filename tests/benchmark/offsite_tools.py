# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools whose uploads are compared: those of `tools.py`, with a bucket of S3 in place of a folder.

They find the store and its keys in the environment, by the names that AWS has for them.
"""

from __future__ import annotations

from tools import Command, Litestream, Ours, Pipeline, Restic, Tool

BUCKET = "backups"
# Where the store is; and the file that tells the engine about its target.
ENDPOINT, TARGET = "AWS_ENDPOINT_URL", "BENCHMARK_TARGET"
DAYS, HOURS = 30, 720


class Uploading(Tool):
    """A tool that sends its backup, either by itself or by a second command.

    ``wholes`` is how many times in a month it sends as much as the first time; why is in ``month``.
    """

    wholes = 1
    month = ""

    def upload(self) -> Command | None:
        return None

    @property
    def place(self) -> str:
        """The prefix of its own in the bucket."""
        return f"{BUCKET}/{type(self).__name__.lower()}"


class Push(Uploading, Ours):
    about = "a backup, then a push of the repository, both in new Python processes; `zstd -3`, otherwise its defaults"
    needs = (*Ours.needs, "rclone")
    wholes = DAYS
    month = "a full backup a day, by the default of `full_every`"

    def upload(self) -> Command:
        return self._command("push", self.repository, self.site.env[TARGET])


class ResticStore(Uploading, Restic):
    about = "`sqlite3 X '.backup Y'`, then `restic backup Y` to a repository `s3:http://…`; always encrypted"
    month = "one first backup; without `forget` and `prune`, which read and write more"

    def setting(self) -> dict[str, str]:
        return {**super().setting(), "RESTIC_REPOSITORY": f"s3:{self.site.env[ENDPOINT]}/{self.place}"}


class LitestreamStore(Uploading, Litestream):
    about = (
        "`litestream replicate -once` to `s3://…`, once an hour. It is made to run all the time: then it looks for"
        " commits each second, uploads them at once, and merges what it has uploaded every 30 seconds, every 5 minutes"
        " and every hour. All that is not measured here"
    )
    wholes = DAYS
    month = "a snapshot a day, by its default; the least, since it was started once an hour"

    @property
    def _url(self) -> str:
        return f"s3://{self.place}?endpoint={self.site.env[ENDPOINT]}&forcePathStyle=true&region=us-east-1"


class Copy(Uploading, Pipeline):
    name = ".backup + zstd + aws s3 cp"
    about = "`sqlite3 X '.backup Y'`, `PRAGMA quick_check` of Y, `zstd -3 -T0 Y`, then `aws s3 cp` of that file"
    needs = (*Pipeline.needs, "aws")
    wholes = HOURS
    month = "all of it each hour"

    def upload(self) -> Command:
        return ["aws", "s3", "cp", "--only-show-errors", str(self._newest), f"s3://{self.place}/{self._newest.name}"]


KINDS: tuple[type[Uploading], ...] = (Push, ResticStore, LitestreamStore, Copy)
SHORT_NAMES = dict(zip(("ours", "restic", "litestream", "aws"), KINDS))
