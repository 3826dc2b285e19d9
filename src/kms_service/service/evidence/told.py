"""What audit rows say of KMS requests, in the form that a reconciliation lays beside CloudTrail."""

from collections.abc import Iterator

from kms_service.service.audit.requests import listed_requests
from kms_service.service.evidence.ledger import LostAnswer, ToldRequest
from kms_service.service.wallets.guard import CANARY_OPENED
from kms_service.store.audit.trail import StoredRow

# Outcomes after which nobody knows whether KMS did what it was asked for.
_UNKNOWN = frozenset({"kms_unavailable", "deadline_exceeded"})


def told_by(stored: StoredRow) -> Iterator[ToldRequest | LostAnswer]:
    """The KMS requests of one row: its own, those that it lists, or one whose answer never came."""
    row = stored.row
    if row.action == CANARY_OPENED:
        return  # the release beside it has a row of its own about the same request
    if row.kms_request_id is not None:
        yield ToldRequest(
            request_id=row.kms_request_id,
            id=stored.id,
            at=row.at,
            actor=row.actor,
            action=row.action,
            outcome=row.outcome,
            user_id=row.user_id,
            wallet_address=row.wallet_address,
            kms_key_id=row.kms_key_id,
            listed=False,
        )
    if row.outcome in _UNKNOWN and row.wallet_address is not None and row.kms_key_id is not None:
        yield LostAnswer(stored.id, row.at, row.wallet_address, row.kms_key_id)
    for request_id in listed_requests(row.action, row.detail):
        yield ToldRequest(
            request_id, stored.id, row.at, row.actor, row.action, row.outcome, None, None, None, True
        )
