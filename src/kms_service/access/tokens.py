"""Bearer tokens: 256 random bits, shown once, kept only as a SHA-256 digest.

A fast hash is right here: what is hashed has 256 bits of entropy, so there is nothing to guess.
"""

import hashlib
import re
import secrets

PREFIX = "kms_"
_TOKEN = re.compile(r"kms_[A-Za-z0-9_-]{43}", re.ASCII)
# Whoever reads the audit log must not take a caller for the service itself.
_ACTORS_OF_THE_SERVICE = frozenset({"kms-service", "rotation-worker", "unknown", "cli"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def new_token() -> str:
    """A fresh token, a secret of the caller's: `kms_` and 256 bits in URL-safe base64.

    The prefix lets secret scanners find a token that was committed by mistake.
    """
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> bytes | None:
    """SHA-256 of a token, 32 bytes; None when it is not even shaped like one."""
    if _TOKEN.fullmatch(token) is None:
        return None
    return hashlib.sha256(token.encode()).digest()


def is_name(value: str) -> bool:
    """Whether `value` may name a token: 1 to 64 of `A-Z a-z 0-9 . _ -`, no sign first, no actor's of ours."""
    return _NAME.fullmatch(value) is not None and value.lower() not in _ACTORS_OF_THE_SERVICE
