"""EIP-7702: an account's signed consent to run the code of a contract as its own.

Signing one gives everything that the account holds to that code, until another authorisation replaces it.
Chain id 0 means every chain. Source: https://eips.ethereum.org/EIPS/eip-7702.
"""

from dataclasses import dataclass

from kms_service.ethereum.json_values import MAX_UINT256

MAX_CHAIN_ID = MAX_UINT256
# An account's nonce grows when its authorisation is applied, so EIP-2681's highest nonce cannot be used.
MAX_NONCE = 2**64 - 2


@dataclass(frozen=True, slots=True)
class Authorization:
    """What is consented to: the chain (0: all), the contract whose code is run (EIP-55), and the nonce."""

    chain_id: int
    delegate: str
    nonce: int


@dataclass(frozen=True, slots=True)
class SignedAuthorization:
    """An authorisation and its signature, from which the signer can be recovered."""

    authorization: Authorization
    y_parity: int
    r: int
    s: int
