"""Limits a minute, and the caller of the work under way, whom they bind."""

from contextvars import ContextVar
from enum import StrEnum

from kms_service.access.scopes import Caller

caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""Whose token the request under way came with; None in commands, which release nothing."""


class LimitedUse(StrEnum):
    """What a token may be limited in; an export counts as a private-key read."""

    PRIVATE_KEY_READ = "private_key_read"
    SIGNATURE = "signature"


WORDS = {
    LimitedUse.PRIVATE_KEY_READ: "private-key reads",
    LimitedUse.SIGNATURE: "signatures",
}


def limited_as(kind: str) -> LimitedUse:
    """What a release of this kind counts as."""
    return LimitedUse.SIGNATURE if kind == "signature" else LimitedUse.PRIVATE_KEY_READ


def limit_of(holder: Caller | None, use: LimitedUse) -> int | None:
    """How many of these a minute the holder may make; None when there is no limit."""
    if holder is None:
        return None
    if use is LimitedUse.SIGNATURE:
        return holder.signatures_per_minute
    return holder.private_key_reads_per_minute
