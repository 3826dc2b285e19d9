"""What is sent to the service: endless streams of requests, with the status that each must get."""

import base64
import itertools
import json
import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

PAGE = 100
_FILLED_BEFORE_THE_LAST_PAGE = PAGE + 1


def user_id(number: int) -> str:
    """The user of the filled wallet with this number."""
    return f"user-{number:08}"


class Call(NamedTuple):
    """An HTTP/1.1 request as it is sent, and the status that it must get."""

    request: bytes
    status: int


Scenario = Iterator[Call]


@dataclass(frozen=True, slots=True)
class Target:
    """A service on a filled table: `wallets` and `opens_every` as they were filled."""

    host: str
    token: str
    wallets: int
    opens_every: int

    def call(self, status: int, method: str, path: str, body: dict[str, str] | None = None) -> Call:
        """A request with the token, and a JSON body if there is one."""
        content = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", f"Authorization: Bearer {self.token}"]
        if content:
            head += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        return Call("\r\n".join([*head, "", ""]).encode() + content, status)

    def any_user(self) -> str:
        """A user whose wallet opens, all equally likely."""
        return user_id(random.randrange(0, self.wallets, self.opens_every))


def livez(target: Target) -> Scenario:
    """The cost of HTTP itself: no token, no database, no KMS."""
    return itertools.repeat(target.call(200, "GET", "/livez"))


def create(target: Target) -> Scenario:
    """A creation for a new user."""
    prefix = secrets.token_hex(6)
    return (
        target.call(201, "POST", "/wallets", {"userId": f"bench-{prefix}-{number}"})
        for number in itertools.count()
    )


def private_key(target: Target) -> Scenario:
    """A private key of any user."""
    while True:
        yield target.call(200, "GET", f"/wallets/{target.any_user()}/private-key")


def sign(target: Target) -> Scenario:
    """A short EIP-191 message for any user."""
    while True:
        yield target.call(200, "POST", f"/wallets/{target.any_user()}/sign/message", {"message": "paid"})


def mixed_traffic(target: Target) -> Scenario:
    """One creation, two private keys and two signatures in turn."""
    made, key, signed = create(target), private_key(target), sign(target)
    for stream in itertools.cycle((made, key, signed, key, signed)):
        yield next(stream)


def duplicate(target: Target) -> Scenario:
    """A creation for a user that has a wallet."""
    while True:
        yield target.call(409, "POST", "/wallets", {"userId": target.any_user()})


def unknown_wallet(target: Target) -> Scenario:
    """A wallet that does not exist."""
    return (target.call(404, "GET", f"/wallets/nobody-{number}") for number in itertools.count())


def unknown_user(target: Target) -> Scenario:
    """A private key that does not exist; the refusal is on record."""
    return (target.call(404, "GET", f"/wallets/nobody-{number}/private-key") for number in itertools.count())


def unauthorised_read(target: Target) -> Scenario:
    """A private key, requested with an unknown token."""
    stranger = Target(target.host, secrets.token_urlsafe(32), target.wallets, target.opens_every)
    while True:
        yield stranger.call(401, "GET", f"/wallets/{target.any_user()}/private-key")


def wrong_token(target: Target) -> Scenario:
    """Well-formed tokens that nobody issued, a new one each time: 32 bytes, and 16 for their MAC."""
    return _guesses(target, 48)


def wrong_old_token(target: Target) -> Scenario:
    """The same in the form from before tokens had a MAC: 32 bytes."""
    return _guesses(target, 32)


def _guesses(target: Target, random_bytes: int) -> Scenario:
    while True:
        token = f"kms_{secrets.token_urlsafe(random_bytes)}"
        yield replace(target, token=token).call(401, "GET", f"/wallets/{target.any_user()}")


def listing_first(target: Target) -> Scenario:
    """The first page of a hundred."""
    return itertools.repeat(target.call(200, "GET", f"/wallets?limit={PAGE}"))


def listing_middle(target: Target) -> Scenario:
    """A page in the middle of the table."""
    return _page_behind(target, target.wallets // 2)


def listing_last(target: Target) -> Scenario:
    """The last full page."""
    return _page_behind(target, max(0, target.wallets - _FILLED_BEFORE_THE_LAST_PAGE))


def _page_behind(target: Target, number: int) -> Scenario:
    # Made like `nextCursor`: a client would get here page by page.
    cursor = base64.urlsafe_b64encode(user_id(number).encode()).decode().rstrip("=")
    return itertools.repeat(target.call(200, "GET", f"/wallets?limit={PAGE}&cursor={cursor}"))


BASELINE = "livez"
SCENARIOS: dict[str, Callable[[Target], Scenario]] = {
    BASELINE: livez,
    "create": create,
    "private-key": private_key,
    "sign": sign,
    "mixed": mixed_traffic,
    "duplicate": duplicate,
    "unknown-wallet": unknown_wallet,
    "unknown-user": unknown_user,
    "unauthorised": unauthorised_read,
    "wrong-token": wrong_token,
    "wrong-old-token": wrong_old_token,
    "listing-first": listing_first,
    "listing-middle": listing_middle,
    "listing-last": listing_last,
}
