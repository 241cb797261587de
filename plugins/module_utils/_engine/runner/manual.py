# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``help`` prints: the exit codes, a manual page, words for a shell, all made of what the command line knows."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..system.errors import EXIT_CODES, UsageError
from . import wording

_COMPLETION = """\
# Completion of {program} for bash: source this, or keep it as a file in /etc/bash_completion.d.
_{function}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} command= known= each file
    local place=${{SQLITE_BACKUP_CONFIG:-/etc/sqlite-backup}}
    if [ "$EUID" -ne 0 ]; then
        place=${{SQLITE_BACKUP_CONFIG:-${{XDG_CONFIG_HOME:-${{HOME:-}}/.config}}/sqlite-backup}}
    fi
    COMPREPLY=()
    for ((each = 1; each < COMP_CWORD; each++)); do
        case ${{COMP_WORDS[each]}} in
        --) return ;;
        --config) each=$((each + 1)) && place=${{COMP_WORDS[each]}} ;;
        {any_command}) command=${{command:-${{COMP_WORDS[each]}}}} ;;
        esac
    done
    case $before in
{values}
    esac
    case $command,$word in
    ,-*) known="{common}" ;;
    ,*) known="{commands}" ;;
    help,*) known="{topics}" ;;
{options}
    *)
        for file in "$place"/databases.d/*.json; do
            if [ -f "$file" ]; then
                file=${{file##*/}}
                known="$known ${{file%.json}}"
            fi
        done
        ;;
    esac
    COMPREPLY=($(compgen -W "$known" -- "$word"))
}}
complete -o default -F _{function} {program}
"""


def topic(parser: argparse.ArgumentParser, wanted: str) -> list[str]:
    """The lines of a topic, a command or one of ``TOPICS``; "" is the overview."""
    commands = _commands(parser)
    if not wanted:
        return parser.format_help().splitlines()
    if wanted in commands:
        return commands[wanted].format_help().splitlines()
    if wanted in TOPICS:
        return TOPICS[wanted](parser)
    raise UsageError(f"There is no help on {wanted!r:.60}.", hint=f"Known: {', '.join([*commands, *TOPICS])}.")


def exit_codes(_parser: argparse.ArgumentParser) -> list[str]:
    """The table of exit codes."""
    return wording.table(("CODE", "WHAT", "WHAT TO DO"), [[str(code), *told] for code, told in EXIT_CODES.items()])


def man(parser: argparse.ArgumentParser) -> list[str]:
    """A manual page, in the words of roff."""
    lines = [
        f'.TH {parser.prog.upper()} 8 "" "sqliteops.backup" "System Administration"',
        ".SH NAME",
        f"{_roff(parser.prog)} \\- back up SQLite databases, prove the backups, and restore them",
        ".SH SYNOPSIS",
        *(f".B {_roff(parser.prog)} {_roff(name)}\n[...]\n.br" for name in _commands(parser)),
        ".SH DESCRIPTION",
        *_paragraphs(parser.description or ""),
    ]
    for name, each in _commands(parser).items():
        lines.extend([f".SH COMMAND {_roff(name).upper()}", *_paragraphs(each.description or "")])
        for action in _options(each):
            flags = ", ".join(action.option_strings) or str(action.metavar)
            value = "" if not action.option_strings or action.nargs == 0 else f" {_value(action)}"
            lines.extend([".TP", f".B {_roff(flags + value)}", _roff(action.help or "")])
        if each.epilog:
            lines.extend([".PP", ".nf", *map(_roff, each.epilog.splitlines()), ".fi"])
    lines.append(".SH EXIT STATUS")
    for code, (what, advice) in EXIT_CODES.items():
        lines.extend([".TP", f".B {code}", _roff(f"{what}: {advice}" if advice else what)])
    lines.extend([".SH FILES", ".TP", ".I /etc/sqlite\\-backup/databases.d/NAME.json", "One database, its repository."])
    lines.extend([".TP", ".I ~/.config/sqlite\\-backup/databases.d/NAME.json", "The same for a user other than root."])
    lines.extend([".SH ENVIRONMENT", ".TP", ".B SQLITE_BACKUP_CONFIG", "The directory of the configuration."])
    return lines


def completion(parser: argparse.ArgumentParser) -> list[str]:
    """Completion of commands, options and the names of databases for bash."""
    commands = _commands(parser)
    text = _COMPLETION.format(
        program=parser.prog,
        function=parser.prog.replace("-", "_"),
        any_command=" | ".join(commands),
        values="\n".join(_values([parser, *commands.values()])),
        common=_flags(parser),
        commands=" ".join(commands),
        topics=" ".join([*commands, *TOPICS]),
        options="\n".join(f'    {name},-*) known="{_flags(command)}" ;;' for name, command in commands.items()),
    )
    return text.splitlines()


TOPICS: Mapping[str, Callable[[argparse.ArgumentParser], list[str]]] = {
    "exit-codes": exit_codes,
    "man": man,
    "completion-bash": completion,
}


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return {}


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [each for each in parser._actions if each.help != argparse.SUPPRESS]  # noqa: SLF001


def _flags(parser: argparse.ArgumentParser) -> str:
    return " ".join(sorted(flag for each in _options(parser) for flag in each.option_strings))


def _values(parsers: Sequence[argparse.ArgumentParser]) -> Iterator[str]:
    """For each option with a value what it may be; where that is not known, a file is as good as anything."""
    flags: dict[str, set[str]] = {}
    for parser in parsers:
        for each in _options(parser):
            if each.option_strings and each.nargs != 0:
                flags.setdefault(" ".join(each.choices or ()), set()).update(each.option_strings)
    for choices, known in sorted(flags.items()):
        then = f'COMPREPLY=($(compgen -W "{choices}" -- "$word")); ' if choices else ""
        yield f"    {' | '.join(sorted(known))}) {then}return ;;"


def _value(action: argparse.Action) -> str:
    return str(action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper()))


def _paragraphs(text: str) -> Iterator[str]:
    for each in text.split("\n\n"):
        yield from (".PP", _roff(" ".join(each.split())))


def _roff(text: str) -> str:
    """``text`` as a line of a manual page, where nothing in it is a request."""
    plain = re.sub(r"([\\-])", lambda found: "\\e" if found[1] == "\\" else "\\-", text.replace("…", "..."))
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
