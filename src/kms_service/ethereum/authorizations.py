"""EIP-7702: an account's signed consent to run the code of a contract as its own.

Whoever signs one hands all that the account holds to that code, until another one replaces it. Chain id 0 is
every chain. Source: https://eips.ethereum.org/EIPS/eip-7702.
"""

from dataclasses import dataclass

from kms_service.ethereum.json_values import MAX_UINT256

MAX_CHAIN_ID = MAX_UINT256
# An account's nonce grows when its authorisation is applied, so EIP-2681's last one cannot be used.
MAX_NONCE = 2**64 - 2


@dataclass(frozen=True, slots=True)
class Authorization:
    """What is consented to: on which chain (0: all), to whose code (EIP-55), at which nonce."""

    chain_id: int
    delegate: str
    nonce: int


@dataclass(frozen=True, slots=True)
class SignedAuthorization:
    """An authorisation and its signature; who signed it is to be recovered from that."""

    authorization: Authorization
    y_parity: int
    r: int
    s: int
