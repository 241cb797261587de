# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A headless Chromium, driven through a pipe (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = "chromium"
_ANSWER_SECONDS = 60.0
# It takes its commands from descriptor 3, and answers on 4.
_TAKES, _ANSWERS = 3, 4


def why_missing() -> str:
    """Why there is no browser; empty when there is one."""
    return "" if shutil.which(PROGRAM) else f"{PROGRAM} is not installed"


class Tab:
    """One page; ``events`` are all that the browser told of it so far."""

    def __init__(self, process: subprocess.Popen[bytes], takes: int, answers: int) -> None:
        self._process = process
        self._takes, self._answers = takes, answers
        self._buffer = b""
        self._last_id = 0
        self.session = ""
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to a command of its protocol."""
        self._last_id += 1
        request = {"id": self._last_id, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        os.write(self._takes, json.dumps(request).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._last_id:
                assert "error" not in told, f"{method}: {told['error']}"
                answer: dict[str, Any] = told["result"]
                return answer
            self.events.append(told)

    def attach(self) -> None:
        """Speak with the page that is open."""
        pages = [each["targetId"] for each in self.ask("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        self.session = self.ask("Target.attachToTarget", targetId=pages[0], flatten=True)["sessionId"]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _ANSWER_SECONDS
        while b"\0" not in self._buffer:
            ready = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))[0]
            received = os.read(self._answers, 1 << 20) if ready else b""
            assert received, "the browser does not answer"
            self._buffer += received
        text, self._buffer = self._buffer.split(b"\0", 1)
        told: dict[str, Any] = json.loads(text)
        return told

    def open(self, url: str) -> None:
        """Go there, and wait until all of it is loaded."""
        self.events.clear()
        answer = self.ask("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        while not any(each.get("method") == "Page.loadEventFired" for each in self.events):
            self.events.append(self._next())

    def value(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression in the page is true."""
        end = time.monotonic() + _ANSWER_SECONDS
        while not self.value(script):
            assert time.monotonic() < end, f"it never came to {script}"
            time.sleep(0.02)

    def resize(self, width: int, height: int = 900) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def emulate(self, *, media: str = "", scheme: str = "light") -> None:
        self.ask(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def press(self, key: str, code: str, number: int, text: str = "") -> None:
        """Press a key, and let it go."""
        named = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **named)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def click(self, selector: str) -> None:
        """Click in the middle of an element, with the mouse."""
        x, y = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def printed(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("Page.printToPDF", printBackground=False)["data"]))

    def complaints(self) -> list[dict[str, Any]]:
        """What stands in the console, and every exception."""
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [each for each in self.events if each.get("method") in kinds]

    def requests(self) -> list[str]:
        """Every address that was asked for, after that of the page."""
        sent = [each["params"] for each in self.events if each.get("method") == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent if each.get("type") != "Document"]


def _pipe() -> tuple[int, int]:
    """Both ends, none of them where the browser looks for its own."""
    low = os.pipe()
    first, second = (fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _ANSWERS + 1) for each in low)
    for each in low:
        os.close(each)
    return first, second


@contextlib.contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """A browser of its own with one page; it ends with the block."""
    takes, commands = _pipe()
    answers, told = _pipe()
    command = [PROGRAM, "--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run"]
    # In a sandbox root cannot run it.
    command += ["--disable-background-networking", "--disable-dev-shm-usage", "--no-sandbox", "about:blank"]
    script = f'exec "$@" {_TAKES}<&{takes} {_ANSWERS}>&{told}'
    with subprocess.Popen(
        ["bash", "-c", script, "bash", *command],
        pass_fds=(takes, told),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(takes)
        os.close(told)
        shown = Tab(process, commands, answers)
        try:
            shown.attach()
            for domain in ("Page", "Runtime", "Log", "Network"):
                shown.ask(f"{domain}.enable")
            yield shown
        finally:
            process.terminate()
            try:
                process.wait(timeout=_ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            os.close(commands)
            os.close(answers)
