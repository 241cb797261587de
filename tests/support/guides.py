# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A page of the documentation as what a reader copies out of it: fenced blocks, commands in sentences and in tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Union

# A word in a sentence is a command when it begins with one of these and does not end there.
PROGRAMS = (
    *("ansible-galaxy", "ansible-playbook", "cat", "chmod", "chown", "cp", "df", "git", "journalctl", "kill", "ls"),
    *("make", "mkdir", "mv", "pip", "rm", "sqlite-backup", "sqlite3", "sudo", "systemctl", "zstd"),
)  # fmt: skip
# What a reader adds to the command above the table.
_ADDED = "-e "

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^<!--.*?^-->", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a shell's block, each in one line and without its comment."""
        joined = self.text.replace("\\\n", " ")
        return [command for line in joined.splitlines() if (command := _plain(re.sub(r"(^|\s)#.*", "", line)))]


@dataclass(frozen=True)
class Row:
    """What somebody sees, and the commands that are to help."""

    see: str
    do: str

    @property
    def commands(self) -> list[str]:
        return commands_in(self.do)


# A command is text.
Step = Union[str, Block, Row]


class Guide:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = _COMMENT.sub("", path.read_text(encoding="utf-8"))

    @property
    def blocks(self) -> list[Block]:
        return [Block(*found) for found in _FENCE.findall(self.text)]

    def section(self, heading: str) -> str:
        """What is below a heading, up to the next one of its kind."""
        hashes = heading.partition(" ")[0]
        (_before, found) = self.text.split(f"\n{heading}\n")
        return re.split(rf"^{hashes} ", found, maxsplit=1, flags=re.MULTILINE)[0]

    def rows(self, heading: str) -> list[Row]:
        """The only table below a heading, without its head."""
        lines = [line for line in self.section(heading).splitlines() if line.startswith("|")]
        return [_row(line) for line in lines[2:]]

    @property
    def steps(self) -> list[Step]:
        """All that a reader meets, in the order of the page."""
        found: list[Step] = []
        end = 0
        for fence in _FENCE.finditer(self.text):
            block = Block(*fence.groups())
            found += _steps_in(self.text[end : fence.start()])
            found += block.commands if block.language == "shell" else [block]
            end = fence.end()
        return found + _steps_in(self.text[end:])


def _steps_in(text: str) -> list[Step]:
    found: list[Step] = []
    for paragraph in re.split(r"\n\n|\n(?=[|])", text):
        is_row = paragraph.startswith("|") and not set(paragraph) <= set("|- ")
        found += [_row(paragraph)] if is_row else commands_in(paragraph)
    return found


def _row(line: str) -> Row:
    """Of a table with more columns, what is behind the first one counts as the second."""
    see, do = line.strip().strip("|").split("|", maxsplit=1)
    return Row(see.strip(), do.strip())


def commands_in(text: str) -> list[str]:
    words = [_plain(each) for each in re.findall(r"`([^`]+)`", text)]
    return [each for each in words if each.startswith((_ADDED, *(f"{program} " for program in PROGRAMS)))]


def _plain(command: str) -> str:
    return " ".join(command.split())
