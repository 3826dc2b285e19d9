"""Audit rows that list the KMS requests of a run that releases nothing, to explain them in CloudTrail.

A verification opens every wallet, and nothing leaves: a row for each would double the log. One row's detail
holds dozens of request ids, and the row's MAC covers them.
"""

import base64
import uuid
from collections.abc import Iterable, Iterator

LISTED = "kms.requests"
_DETAIL = 1024
_SHORT = "="  # marks a UUID in base64 without padding; no id of KMS begins with it


def listings(run: str, request_ids: Iterable[str]) -> Iterator[str]:
    """The details of as few rows as can list all these requests.

    Args:
        run: one word that names the run, such as `wallets.verify`.
        request_ids: as KMS returned them.
    """
    detail = run
    for request_id in request_ids:
        word = _shorten(request_id)
        if len(detail) + 1 + len(word) > _DETAIL:
            yield detail
            detail = run
        detail += f" {word}"
    if detail != run:
        yield detail


def listed_requests(action: str, detail: str | None) -> Iterator[str]:
    """The KMS requests that a row lists; none if the row has another action."""
    if action == LISTED and detail is not None:
        yield from (_expand(word) for word in detail.split()[1:])


def _shorten(request_id: str) -> str:
    try:
        value = uuid.UUID(request_id)
    except ValueError:
        return request_id
    if str(value) != request_id:
        return request_id
    return _SHORT + base64.urlsafe_b64encode(value.bytes).decode().rstrip("=")


def _expand(word: str) -> str:
    if not word.startswith(_SHORT):
        return word
    try:
        return str(uuid.UUID(bytes=base64.urlsafe_b64decode(word.removeprefix(_SHORT) + "==")))
    except ValueError:
        return word
