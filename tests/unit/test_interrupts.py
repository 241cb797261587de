# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that must wait until a step is written down."""

from __future__ import annotations

import signal
import threading

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import interrupts


def test_signal_waits_from_the_beginning_to_the_end() -> None:
    with interrupts.Shield() as shield:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        shield.begin()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert shield.caught == [signal.SIGINT] * 2
    with pytest.raises(KeyboardInterrupt):
        shield.deliver()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_nothing_is_delivered_that_did_not_come() -> None:
    with interrupts.Shield() as shield:
        shield.begin()
    shield.deliver()
    assert shield.caught == []


@pytest.mark.parametrize("number", interrupts.STOPPING)
def test_what_was_ignored_stays_ignored(number: int) -> None:
    """As nohup(1) does it."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with interrupts.Shield() as shield:
            shield.begin()
            signal.raise_signal(number)
            assert shield.caught == []
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_other_thread_gets_no_signals_and_needs_no_shield() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with interrupts.Shield() as shield:
                shield.begin()
        except BaseException as error:  # noqa: BLE001 - it is for the other thread
            failures.append(error)

    before = [signal.getsignal(number) for number in interrupts.STOPPING]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
    assert [signal.getsignal(number) for number in interrupts.STOPPING] == before
