"""Rows that list the KMS requests of a run that releases nothing, so that each is explained to CloudTrail.

A verification opens every wallet, and none of it leaves: a row for each would double the log. A row's detail
takes dozens of request ids, and the chain's MAC covers it as it covers every row.
"""

import base64
import uuid
from collections.abc import Iterable, Iterator

LISTED = "kms.requests"
_DETAIL = 1024
_SHORT = "="  # what begins a UUID in base64 without padding, as none of KMS's ids does


def listings(run: str, request_ids: Iterable[str]) -> Iterator[str]:
    """The details of as few rows as can list all these requests.

    Args:
        run: one word that tells what the run was, such as `wallets.verify`.
        request_ids: as KMS answered them.
    """
    detail = run
    for request_id in request_ids:
        word = _short(request_id)
        if len(detail) + 1 + len(word) > _DETAIL:
            yield detail
            detail = run
        detail += f" {word}"
    if detail != run:
        yield detail


def listed_requests(action: str, detail: str | None) -> Iterator[str]:
    """The KMS requests that a row lists; none of a row of another action."""
    if action == LISTED and detail is not None:
        yield from (_long(word) for word in detail.split()[1:])


def _short(request_id: str) -> str:
    try:
        value = uuid.UUID(request_id)
    except ValueError:
        return request_id
    if str(value) != request_id:
        return request_id
    return _SHORT + base64.urlsafe_b64encode(value.bytes).decode().rstrip("=")


def _long(word: str) -> str:
    if not word.startswith(_SHORT):
        return word
    try:
        return str(uuid.UUID(bytes=base64.urlsafe_b64decode(word.removeprefix(_SHORT) + "==")))
    except ValueError:
        return word
