# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is given and empty is never taken for what is not given, and a time in which nothing can be done is refused."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import (
    config,
    discovery,
    grammar,
    strict,
    target_config,
    watch_config,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner.strict import Key, Where
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import options
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from support import databases
from support.hosts import Host

# Empty is what they are when they are not given, and means that there is none.
MAY_BE_EMPTY = {("backup", "--reason")}


def _parsers() -> Mapping[str, argparse.ArgumentParser]:
    (found,) = [each for each in grammar.tree()._actions if isinstance(each, argparse._SubParsersAction)]
    return found.choices


def _texts(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What takes a text, in the words of argparse: no flag, no number, none of some words."""
    return [each for each in parser._actions if each.nargs != 0 and each.type is None and each.choices is None]


TABLE = [
    (command, each.option_strings[0] if each.option_strings else "")
    for command, parser in _parsers().items()
    for each in _texts(parser)
]


@pytest.mark.parametrize(("command", "option"), TABLE)
def test_what_is_empty_on_the_command_line_is_refused(command: str, option: str) -> None:
    others = [each for each in _texts(_parsers()[command]) if each.required and option not in each.option_strings]
    words = [command, *(word for each in others if each.option_strings for word in (each.option_strings[0], "x"))]
    words += [option, ""] if option else [""]
    words += ["--", "true"] if command == "guard" else []

    if (command, option) in MAY_BE_EMPTY:
        assert grammar.parse(words).reason == ""
        return
    with pytest.raises(UsageError, match="given, and empty") as caught:
        grammar.parse(words)
    assert option in caught.value.message
    assert "variable" in caught.value.hint


def test_table_has_the_options_of_which_an_empty_one_would_be_the_worst() -> None:
    assert {("restore", "--dest"), ("restore", "--before"), ("import", "--dest"), ("prune", "--target")} < set(TABLE)


def test_empty_word_behind_an_equals_sign_and_behind_the_dashes_is_refused() -> None:
    for words in (["restore", "agent", "--dest="], ["--config=", "list"], ["discover", "--", ""]):
        with pytest.raises(UsageError, match="given, and empty"):
            grammar.parse(words)


def test_empty_word_of_the_command_that_is_guarded_is_that_of_the_command() -> None:
    assert grammar.parse(["guard", "agent", "--reason", "x", "--", "printf", ""]).command == ["printf", ""]


def test_live_database_is_not_replaced_for_want_of_a_name(host: Host) -> None:
    host.run("backup", "agent")
    database = host.directory / "agent.db"
    databases.add(database, "newer")
    databases.settle(database)
    before = database.read_bytes()

    said = host.run("restore", "agent", "--dest", "", "--force")

    assert said.code == 2
    assert database.read_bytes() == before
    assert not list(host.directory.glob("*before-restore*"))


@pytest.mark.parametrize(
    ("key", "wrong"), [("timeout", "0s"), *((name, -1) for name in ("keep_last", "keep_hourly", "keep_yearly"))]
)
def test_value_with_which_no_run_could_do_its_work_is_refused_before_it(host: Host, key: str, wrong: Any) -> None:
    host.add("agent", **{key: wrong})

    said = host.run("backup", "agent")

    assert said.code == 2
    assert f"agent: {key}: Cannot use" in said.err
    assert not host.repository().exists()


@pytest.mark.skipif(os.name == "nt", reason="there is no such device")
@pytest.mark.parametrize(
    "words",
    [
        ("restore", "agent", "--dest", os.devnull),
        ("export", "agent", "--into", os.devnull, "--plain", "--force"),
        ("extract", "agent", "--into", os.devnull, "--table", "item"),
        ("import", "agent", "--from", os.devnull),
        ("import", "agent", "--from", __file__, "--dest", os.devnull),
    ],
)
def test_device_where_a_file_is_meant_is_a_wrong_option_and_is_to_stay(host: Host, words: tuple[str, ...]) -> None:
    host.run("backup", "agent")

    said = host.run(*words)

    assert said.code == 2
    assert f"{os.devnull} is not a regular file" in said.err
    assert not {"remove", "move", "dest"} & set(re.findall(r"\w+", said.err.splitlines()[-1]))
    assert os.path.exists(os.devnull)


def _keys(keys: Mapping[str, Key], above: str = "") -> Iterator[tuple[str, Key, Any]]:
    """Each key that holds a text or texts, with what the whole file would hold for it to be empty."""
    for name, key in keys.items():
        if key.keys:
            for told, inner, content in _keys(key.keys, f"{above}{name}."):
                yield told, inner, {name: [content] if key.type == "list" else content}
        elif key.type in ("text", "path"):
            yield f"{above}{name}", key, {name: ""}
        elif key.type == "list":
            yield f"{above}{name}", key, {name: ["a", ""]}


FILES = {"database": config.KEYS, "target": target_config.KEYS, "watch": watch_config.KEYS, "discover": discovery.KEYS}
# An argument of a command that others are told by.
MAY_HOLD_EMPTY = {("watch", "notify.command")}


@pytest.mark.parametrize(
    ("kind", "told", "content"),
    [(kind, told, content) for kind, keys in FILES.items() for told, _key, content in _keys(keys)],
)
def test_what_is_empty_in_a_configuration_is_refused(kind: str, told: str, content: dict[str, Any]) -> None:
    # Of required keys beside it nothing is said before: the order is that of the keys.
    keys = {name: _optional(key) for name, key in FILES[kind].items()}
    where = Where("x", Path("/x"), "x", "")
    if (kind, told) in MAY_HOLD_EMPTY:
        assert strict.settings(content, keys, where, lambda _values, _where: None)
        return
    plain = re.escape(told).replace(r"\.", r"(\[\d\])?\.")
    with pytest.raises(UsageError, match=rf'^x: {plain}(\[\d\])? is "", it must be '):
        strict.settings(content, keys, where, lambda _values, _where: None)


def _optional(key: Key) -> Key:
    return Key(
        key.type, key.default, key.choices, {n: _optional(k) for n, k in key.keys.items()}, False, key.may_be_empty
    )


@pytest.mark.parametrize("read", [options.path, options.text])
def test_request_is_made_of_nothing_that_is_empty(read: Any) -> None:
    assert not read({"dest": None}, "dest")
    with pytest.raises(UsageError, match="Cannot use dest: it is given, and empty"):
        read({"dest": ""}, "dest")


@pytest.mark.parametrize("text", ["0s", "0", "0m0s", "0.0"])
def test_timeout_in_which_nothing_can_be_done_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no time"):
        options.timeout({"timeout": text})


def test_timeout_may_be_short_and_may_be_missing() -> None:
    assert (options.timeout({"timeout": "0.5"}), options.timeout({"timeout": None})) == (0.5, None)
