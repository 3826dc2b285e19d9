"""Bearer tokens: 256 random bits, shown once, stored only as a SHA-256 digest.

    token = kms_ base64url(32 random bytes ‖ the first 16 bytes of their MAC)

The MAC, under the keys of row MACs, lets a process recognise a made-up token without asking the database.
Tokens of an earlier version are `kms_` and 32 random bytes, and are good until they are rotated.

A fast hash is right here: a token has 256 bits of entropy, so it cannot be guessed.
"""

import base64
import hashlib
import re
from dataclasses import dataclass

PREFIX = "kms_"
RANDOM_BYTES = 32
CHECK_BYTES = 16
_OLD = re.compile(r"kms_[A-Za-z0-9_-]{43}", re.ASCII)
_NEW = re.compile(r"kms_[A-Za-z0-9_-]{64}", re.ASCII)
# Tokens may not have these names, so that the audit log never shows a caller as the service itself.
_ACTORS_OF_THE_SERVICE = frozenset({"kms-service", "rotation-worker", "unknown", "cli"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CheckedForm:
    """The two parts of a token that carries a MAC; `random` is as secret as the token."""

    random: bytes
    check: bytes

    def __repr__(self) -> str:
        return "<CheckedForm: secret>"


def join(random: bytes, check: bytes) -> str:
    """The token made of these two parts. The caller owns the secret.

    The prefix lets secret scanners find a token that was committed by mistake.
    """
    return PREFIX + base64.urlsafe_b64encode(random + check).decode()


def split(token: str) -> CheckedForm | None:
    """The parts of a token; None if it has another form, such as that of the earlier version."""
    if _NEW.fullmatch(token) is None:
        return None
    parts = base64.urlsafe_b64decode(token.removeprefix(PREFIX))
    return CheckedForm(parts[:RANDOM_BYTES], parts[RANDOM_BYTES:])


def digest(token: str) -> bytes | None:
    """The SHA-256 of a token, 32 bytes; None if it does not have the form of one."""
    if _NEW.fullmatch(token) is None and _OLD.fullmatch(token) is None:
        return None
    return hashlib.sha256(token.encode()).digest()


def is_name(value: str) -> bool:
    """Whether `value` may name a token: 1 to 64 of `A-Z a-z 0-9 . _ -`, no sign first, not reserved."""
    return _NAME.fullmatch(value) is not None and value.lower() not in _ACTORS_OF_THE_SERVICE
