"""What the signing routes answer."""

from pydantic import Field

from kms_service.api.models import AnswerModel
from kms_service.ethereum.json_values import MAX_SAFE_INTEGER
from kms_service.service.policies.guard import Foreseen
from kms_service.service.wallets.signatures import SignedDelegation, SignedMessage, SignedTransaction


class SignatureView(AnswerModel):
    """A signature, and the digest that was signed."""

    wallet_address: str
    signature: str = Field(description="0x and 65 bytes: r, s, v (27 or 28)")
    message_hash: str


class SignedTransactionView(AnswerModel):
    """A signed transaction, as eth_sendRawTransaction takes it."""

    wallet_address: str
    raw_transaction: str
    transaction_hash: str


class AuthorizationView(AnswerModel):
    """A signed authorisation, as `authorizationList` of a transaction takes it."""

    chain_id: int | str
    address: str = Field(description="the delegate, EIP-55")
    nonce: int | str
    y_parity: int
    r: str
    s: str


class SignedAuthorizationView(AnswerModel):
    """A signed authorisation (EIP-7702), and the digest that was signed."""

    wallet_address: str
    authorization: AuthorizationView
    authorization_hash: str


class ForeseenView(AnswerModel):
    """The answer to `dryRun=true`: whether this would be signed, and by which rule."""

    allowed: bool
    policy: str | None = Field(description="the token's policy; null if it has none")
    version: int | None
    rule: str | None = Field(description="the rule that would allow it, or the one that came nearest")
    reason: str | None = Field(description="why it would be refused; null if it would be signed")


def foreseen(foreseen: Foreseen) -> ForeseenView:
    """The outcome of a dry run, as the routes answer it."""
    return ForeseenView(
        allowed=foreseen.allowed,
        policy=foreseen.policy,
        version=foreseen.version,
        rule=foreseen.rule,
        reason=foreseen.reason,
    )


def signature(signed: SignedMessage) -> SignatureView:
    """A signature of a message or of typed data, as the routes answer it."""
    return SignatureView(
        wallet_address=signed.wallet_address,
        signature="0x" + signed.signature.hex(),
        message_hash="0x" + signed.digest.hex(),
    )


def transaction(signed: SignedTransaction) -> SignedTransactionView:
    """A signed transaction, as the route answers it."""
    return SignedTransactionView(
        wallet_address=signed.wallet_address,
        raw_transaction="0x" + signed.raw.hex(),
        transaction_hash="0x" + signed.hash.hex(),
    )


def authorization(signed: SignedDelegation) -> SignedAuthorizationView:
    """A signed authorisation, as the route answers it."""
    consent = signed.signed.authorization
    return SignedAuthorizationView(
        wallet_address=signed.wallet_address,
        authorization=AuthorizationView(
            chain_id=_number(consent.chain_id),
            address=consent.delegate,
            nonce=_number(consent.nonce),
            y_parity=signed.signed.y_parity,
            r=f"0x{signed.signed.r:064x}",
            s=f"0x{signed.signed.s:064x}",
        ),
        authorization_hash="0x" + signed.digest.hex(),
    )


def _number(number: int) -> int | str:
    # JSON readers lose digits beyond this; a larger number is a decimal string, as it may be in a request.
    return number if number <= MAX_SAFE_INTEGER else str(number)
