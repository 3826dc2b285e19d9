"""Every request in the documents is answered, exactly as it is printed."""

import re
import shlex
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from calling import Service

ROOT = Path(__file__).parents[2]
RECIPIENT = b64encode(X25519PrivateKey.generate().public_key().public_bytes_raw()).decode()


def requests(page: str) -> Iterator[str]:
    """Each line of curl in the page that asks the service itself."""
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        yield from (line for line in block.splitlines() if line.startswith("curl ") and "$U" in line)


def ask(service: Service, line: str) -> int:
    """The status of the answer to a line of curl."""
    method, path, sent = "GET", "", None
    words = iter(shlex.split(line)[1:])
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-d":
            method, sent = "POST", next(words).replace("<base64 of 32 bytes>", RECIPIENT)
        elif word == "-H":
            assert next(words) in {"$H", "$J"}
        else:
            path = word.removeprefix("$U")
    headers = {"Content-Type": "application/json"} if sent else {}
    return service.call(method, path, content=sent, headers=headers).status_code


@pytest.mark.parametrize("page", ["README.md", "docs/api.md", "docs/signing.md"])
def test_every_request_is_answered(service: Service, page: str) -> None:
    lines = list(requests(page))
    assert len(lines) >= 4
    for line in lines:
        expected = {201, 409} if '{"userId": "alice"}' in line else {200, 201}
        assert ask(service, line) in expected, line
