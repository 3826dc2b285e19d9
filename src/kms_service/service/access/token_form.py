"""Makes tokens that carry a MAC of themselves, and tells them from made-up ones without a look-up."""

import secrets

from kms_service.access import tokens
from kms_service.access.tokens import CHECK_BYTES, RANDOM_BYTES, CheckedForm
from kms_service.crypto.row_mac import RowLabel, RowMacKeyring


def make_token(ring: RowMacKeyring) -> str:
    """A fresh token. The caller owns the secret."""
    random = secrets.token_bytes(RANDOM_BYTES)
    return tokens.join(random, ring.make(RowLabel.TOKEN_FORM, (random,)).mac[:CHECK_BYTES])


def was_made(form: CheckedForm, ring: RowMacKeyring) -> bool:
    """Whether the service made this token; it may have been revoked since."""
    return ring.has_made(RowLabel.TOKEN_FORM, form.random, form.check)
