"""Headless Chromium, driven by the DevTools protocol over two pipes: needs no driver, port or package."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from waiting import wait_until

FOUND = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
_SECONDS = 30.0


class Tab:
    """One tab: it loads addresses, fills in forms, and remembers its requests and complaints."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = os.fdopen(reading, "rb", buffering=0)
        self._writing = os.fdopen(writing, "wb", buffering=0)
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime", "Audits"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its result."""
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        self._writing.write(json.dumps(command).encode() + b"\0")
        while True:
            message = self._read_message()
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._events.append(message)

    def go(self, address: str) -> None:
        """Load an address."""
        self._until_loaded(lambda: self("Page.navigate", url=address))

    def sign_in(self, token: str) -> None:
        """Type a token where the page has put the focus and send it, as a visitor does."""
        wait_until(lambda: bool(self.run("document.activeElement?.id === 'token'")), within=_SECONDS)
        self("Input.insertText", text=token)
        self._until_loaded(lambda: self.run("document.querySelector('form button').click()"))

    def click(self, selector: str) -> None:
        """Click something that leads to another page."""
        self._until_loaded(lambda: self.run(f"document.querySelector({selector!r}).click()"))

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        result = self("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def look(self, width: int, height: int, scheme: str, *, phone: bool) -> None:
        """Set the screen to this size, and the colour scheme to `light` or `dark`."""
        scale = 2 if phone else 1
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=phone,
        )
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self) -> bytes:
        """A PNG of the whole page."""
        data = self("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        return base64.b64decode(data)

    @property
    def asked_for(self) -> list[str]:
        """Every address that was requested."""
        sent = [each for each in self._events if each.get("method") == "Network.requestWillBeSent"]
        return [each["params"]["request"]["url"] for each in sent]

    @property
    def complaints(self) -> list[str]:
        """What the browser logged or raised as an issue, such as violations of a policy."""
        self("Runtime.evaluate", expression="0")  # what came before this has arrived
        kinds = ("Log.entryAdded", "Audits.issueAdded", "Runtime.exceptionThrown")
        return [json.dumps(each["params"]) for each in self._events if each.get("method") in kinds]

    def close(self) -> None:
        """Close both pipes, which ends the browser."""
        self._reading.close()
        self._writing.close()

    def _until_loaded(self, act: Any) -> None:
        seen = len(self._events)
        act()
        end = time.monotonic() + _SECONDS
        while not any(each.get("method") == "Page.loadEventFired" for each in self._events[seen:]):
            assert time.monotonic() < end, "the page did not load"
            self._events.append(self._read_message())

    def _read_message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = self._reading.read(65536)
            assert part, "Chromium has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


@contextmanager
def chromium() -> Iterator[Tab]:
    """A tab of a browser with an empty profile; the browser ends with the block."""
    assert FOUND is not None
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()

    def move_pipes() -> None:
        # Moved away first: either may already be 3 or 4.
        reading, writing = os.dup(commands_out), os.dup(answers_in)
        os.dup2(reading, 3)
        os.dup2(writing, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(  # noqa: S603 - the system's own browser
            [FOUND, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            close_fds=False,
            preexec_fn=move_pipes,  # noqa: PLW1509 - no thread holds a lock that it needs
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands_out)
        os.close(answers_in)
        tab = Tab(answers_out, commands_in)
        try:
            yield tab
        finally:
            tab.close()
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
