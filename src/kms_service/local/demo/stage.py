"""What the demo uses: the service's HTTP interface, its commands, and callers as a load."""

import json
import os
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kms_service.laptop import LOCAL_FOLDER_VARIABLE
from kms_service.local.demo import commands
from kms_service.local.errors import LocalError
from kms_service.local.session import Say, Session

_TIMEOUT_SECONDS = 60.0
_PAUSE_SECONDS = 0.03  # a caller's between two requests: a load, and processors that are free for the rest


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """A disposable session, and where to print the story."""

    session: Session
    say: Say

    def ask(self, method: str, path: str, content: object = None) -> Answer:
        """Send one request, with every scope, and return the answer."""
        token = (self.session.folder / "token").read_text().strip()
        request = urllib.request.Request(  # noqa: S310 - our own address
            self.session.url + path,
            method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - as above
                return Answer(response.status, json.load(response))
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, json.load(refused))

    def expect(self, status: int, method: str, path: str, content: object = None) -> dict[str, Any]:
        """Send one request, which must be answered with `status`, and return the body.

        Raises:
            LocalError: it got another status.
        """
        answer = self.ask(method, path, content)
        if answer.status != status:
            raise LocalError(
                f"{method} {path} was answered with {answer.status}, not {status}: {answer.body}"
            )
        return answer.body

    def command(self, *words: str, exit_code: int = 0) -> None:
        """Show a command and run it; it joins the session and prints as usual.

        Raises:
            LocalError: it did not end with `exit_code`.
        """
        self.say(f"$ kms-service --local {' '.join(words)}")
        code = commands.run(words, {**os.environ, LOCAL_FOLDER_VARIABLE: str(self.session.folder)})
        if code != exit_code:
            raise LocalError(f"kms-service {' '.join(words)} ended with {code}, not {exit_code}")

    @contextmanager
    def load(self, callers: int, send: Callable[[], Answer]) -> Iterator[Counter[int]]:
        """Have `callers` send requests, some dozen a second each; yields counts by status."""
        counted, lock, stop = Counter[int](), threading.Lock(), threading.Event()

        def keep_sending() -> None:
            while not stop.is_set():
                status = send().status
                with lock:
                    counted[status] += 1
                stop.wait(_PAUSE_SECONDS)

        threads = [threading.Thread(target=keep_sending) for _ in range(callers)]
        for thread in threads:
            thread.start()
        try:
            yield counted
        finally:
            stop.set()
            for thread in threads:
                thread.join()
