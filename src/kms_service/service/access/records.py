"""How a token's row is represented in its MAC and in the audit log, and whether it is valid."""

from dataclasses import replace
from datetime import UTC, datetime

from kms_service.crypto.row_mac import RowLabel, RowMacKeyring
from kms_service.errors import IntegrityFailure, TokenIntegrityFailure
from kms_service.store.access.tokens import FoundToken, TokenRow


def with_mac(row: TokenRow, ring: RowMacKeyring) -> TokenRow:
    """The row with its MAC, to be stored.

    Raises:
        ValueError: a field is longer than a MAC can cover, and than any that the service makes.
    """
    return replace(row, mac=ring.make(RowLabel.TOKEN, fields(row)))


def verify(found: FoundToken, ring: RowMacKeyring) -> None:
    """Pass if the row is as an operator wrote it last.

    Raises:
        TokenIntegrityFailure: somebody else wrote it, or put an older row in its place.
    """
    try:
        ring.verify(RowLabel.TOKEN, fields(found.row), found.row.mac)
    except IntegrityFailure as failure:
        raise TokenIntegrityFailure(failure.reason) from None
    if found.row.version < found.recorded:
        raise TokenIntegrityFailure("token rolled back")


def is_valid(row: TokenRow, now: datetime) -> bool:
    """Whether a token is neither expired nor revoked; its MAC must have been checked."""
    return row.revoked_at is None and (row.expires_at is None or now < row.expires_at)


def is_good(row: TokenRow, digest: bytes, now: datetime) -> bool:
    """Whether the token is valid and this is its digest, or the one before it within the overlap."""
    if not is_valid(row, now):
        return False
    if row.token_sha256 == digest:
        return True
    until = row.previous_expires_at
    return row.previous_token_sha256 == digest and until is not None and now < until


def record(row: TokenRow, told: str = "") -> str:
    """The detail of the audit row of a change: name and version, then `told`, if given."""
    return f"{row.name} {row.version}{told and ': ' + told}"


def fields(row: TokenRow) -> list[str | bytes]:
    """What a token's MAC covers: all but the time of last use. Only an absent field is empty."""
    return [
        row.name,
        str(row.version),
        row.token_sha256,
        row.previous_token_sha256 or b"",
        _time(row.previous_expires_at),
        _number(row.private_key_reads_per_minute),
        _number(row.signatures_per_minute),
        _time(row.created_at),
        _time(row.expires_at),
        _time(row.revoked_at),
        "" if row.policy is None else f"={row.policy}",
        str(len(row.scopes)),
        *row.scopes,
    ]


def _time(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
