"""Limits per minute, and which one applies to a caller."""

from enum import StrEnum

from kms_service.access.scopes import Caller


class LimitedUse(StrEnum):
    """The uses that a token may be limited in; an export counts as a private-key read."""

    PRIVATE_KEY_READ = "private_key_read"
    SIGNATURE = "signature"


WORDS = {
    LimitedUse.PRIVATE_KEY_READ: "private-key reads",
    LimitedUse.SIGNATURE: "signatures",
}


def limited_use(kind: str) -> LimitedUse:
    """The limit that a release of this kind counts against."""
    return LimitedUse.SIGNATURE if kind == "signature" else LimitedUse.PRIVATE_KEY_READ


def limit_of(caller: Caller, use: LimitedUse) -> int | None:
    """How many of these uses the caller may make per minute; None if there is no limit."""
    if use is LimitedUse.SIGNATURE:
        return caller.signatures_per_minute
    return caller.private_key_reads_per_minute
