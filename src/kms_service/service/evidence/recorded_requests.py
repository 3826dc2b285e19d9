"""Finds the KMS requests that audit rows name, for a reconciliation with CloudTrail."""

from collections.abc import Iterator

from kms_service.service.audit.requests import listed_requests
from kms_service.service.evidence.ledger import LostAnswer, RecordedRequest
from kms_service.service.wallets.guard import CANARY_OPENED
from kms_service.store.audit.trail import StoredRow

# Outcomes after which it is unknown whether KMS did what it was asked.
_UNKNOWN = frozenset({"kms_unavailable", "deadline_exceeded"})


def requests_in(stored: StoredRow) -> Iterator[RecordedRequest | LostAnswer]:
    """The KMS requests of one row: its own, those it lists, or one whose answer never came."""
    row, event = stored.row, stored.row.event
    if event.action == CANARY_OPENED:
        return  # the release itself has its own row about the same request
    if event.kms_request_id is not None:
        yield RecordedRequest(
            request_id=event.kms_request_id,
            id=stored.id,
            at=row.at,
            actor=row.actor,
            action=event.action,
            outcome=event.outcome,
            user_id=event.user_id,
            wallet_address=event.wallet_address,
            kms_key_id=event.kms_key_id,
            listed=False,
        )
    if event.outcome in _UNKNOWN and event.wallet_address is not None and event.kms_key_id is not None:
        yield LostAnswer(stored.id, row.at, event.wallet_address, event.kms_key_id)
    for request_id in listed_requests(event.action, event.detail):
        yield RecordedRequest(
            request_id, stored.id, row.at, row.actor, event.action, event.outcome, None, None, None, True
        )
