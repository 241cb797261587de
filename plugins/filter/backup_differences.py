# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What on a host is not as the role `sqlite_backup` wants it, decided on the controller from one look at the host.

Only what is certainly as it should be is left out: for what cannot be told from the look, the role runs its modules.
The documentation is in backup_answers.yml and backup_differences.yml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DIRECTORY_MODE = "drwx------"
_CONFIG_MODE = "0600"
_SCHEDULE_MODE = "0644"
_ROOT_ID = "0"
_TIMER_STATE = ("enabled", "active")
_CRON_COMMENT = "#Ansible: sqlite-backup "

Answers = Mapping[str, Sequence[str]]


def backup_answers(text: str, questions: Sequence[str]) -> dict[str, list[str]]:
    """The lines of look.sh by the question that they answer. What has no answer is not there."""
    numbers = {str(number): question for number, question in enumerate(questions, start=1)}
    answers: dict[str, list[str]] = {}
    for line in text.split("\n"):
        number, _space, answer = line.partition(" ")
        if number in numbers:
            answers.setdefault(numbers[number], []).append(answer)
    return answers


def backup_differences(plans: Sequence[Mapping[str, Any]], **wishes: Any) -> dict[str, list[str]]:
    """What the role has to bring in order: directories, files and timers by their paths, the rest by names."""
    look = _Look(**wishes)
    files = [path for path, digest in look.wanted_files() if not look.has_file(path, digest)]
    by_timer = look.schedule == "systemd"
    return {
        "directories": [
            *(each for each in look.shared_directories if not look.has_directory(each, private=False)),
            *(each for each in look.directories if not look.has_directory(each, private=True)),
        ],
        "files": files,
        # What systemd says of a timer is about the file that is there, which may be written anew.
        "timers": [
            units[-1]
            for units in (plan["units"] for plan in plans if by_timer)
            if not look.has_timer(units[-1]) or any(each in files for each in units)
        ],
        "crontab": [plan["name"] for plan in plans if look.schedule == "crontab" and not look.has_job(plan)],
        "first_backups": [plan["name"] for plan in plans if plan["first_backup"] and not look.has_backups(plan)],
    }


@dataclass(frozen=True)
class _Look:
    """What was found, and what is wanted that the plans do not say."""

    answers: Answers
    files: Sequence[Mapping[str, Any]]
    digests: str
    directories: Sequence[str]
    shared_directories: Sequence[str]
    schedule: str
    owner: str
    group: str

    def wanted_files(self) -> Iterator[tuple[str, str]]:
        for line in self.digests.splitlines():
            digest, _space, path = line.partition(" ")
            yield path, digest

    def has_directory(self, path: str, *, private: bool) -> bool:
        mode, *ids = self._answer(f"path={path}").split() or [""]
        if not private:
            return mode.startswith("d")
        # Behind these letters are marks for access control lists and the like.
        return mode[: len(_DIRECTORY_MODE)] == _DIRECTORY_MODE and self._owned(*ids)

    def has_file(self, path: str, digest: str) -> bool:
        found = next((each for each in self.files if each["path"] == path), None)
        if found is None or not found["isreg"] or found.get("checksum") != digest:
            return False
        ids = (str(found["uid"]), str(found["gid"]))
        if path.endswith(".json"):
            return found["mode"] == _CONFIG_MODE and self._owned(*ids)
        return found["mode"] == _SCHEDULE_MODE and ids == (_ROOT_ID, _ROOT_ID)

    def has_timer(self, path: str) -> bool:
        for question, lines in self.answers.items():
            if question.startswith("timers="):
                columns = [line.split() for line in lines]
                # An older systemd ends at a unit that it cannot read, and says nothing of the others.
                if len({len(column) for column in columns}) == 1:
                    return (path.rpartition("/")[2], *_TIMER_STATE) in zip(*columns)
        return False

    def has_job(self, plan: Mapping[str, Any]) -> bool:
        """As the module `cron` looks for it: the first comment of that name counts."""
        lines = self.answers.get(f"crontab={_CRON_COMMENT.removeprefix('#Ansible: ')}", [])
        comment = f"{_CRON_COMMENT}{plan['name']}"
        job = f"{plan['minute']} {plan['hour']} * * * {plan['crontab_command']}"
        return comment in lines and lines[lines.index(comment) + 1 :][:1] == [job]

    def has_backups(self, plan: Mapping[str, Any]) -> bool:
        return bool(self._answer(f"repository={plan['repository']}"))

    def _owned(self, *ids: str) -> bool:
        """Whether these are the ids of owner and group; of a user's own files Ansible is the owner."""
        wanted = [self._id("user", self.owner), self._id("group", self.group)] if self.owner else [*ids]
        return [*ids] == wanted

    def _id(self, kind: str, name: str) -> str:
        return _ROOT_ID if name == "root" else self._answer(f"{kind}={name}")

    def _answer(self, question: str) -> str:
        return next(iter(self.answers.get(question, [])), "")


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"backup_answers": backup_answers, "backup_differences": backup_differences}
