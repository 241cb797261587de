# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the modules share: one running playbook a file, and a place with one database a test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration import harness
from integration.harness import Session
from integration.home import Home, made
from integration.place import Place


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with harness.session(tmp_path_factory.mktemp("ansible")) as session:
        yield session
    assert session.leftovers == [], "a module left scratch files behind"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def home(place: Place, monkeypatch: pytest.MonkeyPatch) -> Home:
    return made(place, monkeypatch)


@pytest.fixture
def refused() -> Iterator[int]:
    """A port on which nobody answers while it is held."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
