"""Signs by eth_account and libsecp256k1, only what was read strictly.

All signatures are deterministic (RFC 6979), with the low s (EIP-2).

`eth_account` is imported when the first signature needs it, or before by `warm_up`: see the package.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coincurve import PrivateKey as CurveKey

from kms_service.crypto.material import PrivateKey
from kms_service.ethereum.address import keccak256
from kms_service.ethereum.authorizations import Authorization, SignedAuthorization
from kms_service.ethereum.transactions import Transaction
from kms_service.ethereum.typed_data import TypedData

if TYPE_CHECKING:
    from eth_account.messages import SignableMessage

_FIRST_V = 27


@dataclass(frozen=True, slots=True)
class Signable:
    """A message in EIP-191's form, by its 32-byte digest, which is what gets signed."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A signed transaction as it is sent to a node, and its 32-byte hash, by which nodes know it."""

    raw: bytes
    hash: bytes


def warm_up() -> None:
    """Import what signing needs, so that the first signature does not wait for it.

    One of the modules raises the interpreter's recursion limit a hundredfold. Deeply nested JSON from a
    caller could then overflow the stack and end the process, so the limit is restored.
    """
    limit = sys.getrecursionlimit()
    try:
        import eth_account.messages  # noqa: F401
    finally:
        sys.setrecursionlimit(limit)


def personal_message(message: bytes) -> Signable:
    """A message in the form of EIP-191 version 0x45, which wallets call personal_sign."""
    warm_up()
    from eth_account.messages import encode_defunct

    return _signable(encode_defunct(primitive=message))


def typed_message(typed: TypedData) -> Signable:
    """Typed data in the form of EIP-712."""
    warm_up()
    from eth_account.messages import encode_typed_data

    types = {
        name: [{"name": member, "type": kind} for member, kind in members.items()]
        for name, members in typed.structs.items()
    }
    return _signable(encode_typed_data(dict(typed.domain), types, dict(typed.message)))


def sign(signable: Signable, key: PrivateKey) -> bytes:
    """Sign a message: 65 bytes r ‖ s ‖ v, where v is 27 or 28.

    It uses libsecp256k1 itself: eth_account would pass it the same digest, after computing that once more.
    """
    signed = CurveKey(key.reveal()).sign_recoverable(signable.digest, hasher=None)
    return signed[:-1] + bytes([signed[-1] + _FIRST_V])


def sign_transaction(transaction: Transaction, key: PrivateKey) -> SignedTransaction:
    """Sign a transaction, of the type that its fields give."""
    warm_up()
    from eth_account import Account

    signed = Account.sign_transaction(dict(transaction.fields), key.reveal())
    return SignedTransaction(bytes(signed.raw_transaction), bytes(signed.hash))


def sign_authorization(authorization: Authorization, key: PrivateKey) -> tuple[SignedAuthorization, bytes]:
    """Sign an authorisation (EIP-7702); returns it with the 32-byte digest that was signed."""
    from eth_account import Account

    asked = {
        "chainId": authorization.chain_id,
        "address": bytes.fromhex(authorization.delegate[2:]),
        "nonce": authorization.nonce,
    }
    signed = Account.sign_authorization(asked, key.reveal())
    return SignedAuthorization(authorization, signed.y_parity, signed.r, signed.s), bytes(
        signed.authorization_hash
    )


def _signable(encoded: "SignableMessage") -> Signable:
    return Signable(keccak256(b"\x19" + encoded.version + encoded.header + encoded.body))
