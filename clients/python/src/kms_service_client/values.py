"""What the service answers, as values. Members that this version does not know are ignored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from kms_service_client.errors import Problem


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet without its secrets: address in EIP-55, KMS key as its ARN, time of creation in UTC.

    `compressed_public_key` is 0x and 33 bytes in hex.
    """

    user_id: str
    wallet_address: str
    compressed_public_key: str
    kms_key_id: str
    kms_region: str
    created_at: datetime

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """The wallet of an answer.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        return cls(
            user_id=answer["userId"],
            wallet_address=answer["walletAddress"],
            compressed_public_key=answer["compressedPublicKey"],
            kms_key_id=answer["kmsKeyId"],
            kms_region=answer["kmsRegion"],
            created_at=datetime.fromisoformat(answer["createdAt"]),
        )


@dataclass(frozen=True, slots=True)
class WalletPage:
    """One page of wallets in order of user id; `next_cursor` is None on the last.

    `refused` are users whose row the service did not write as it is; it gives no address. Tell an operator.
    """

    wallets: tuple[Wallet, ...]
    next_cursor: str | None
    refused: tuple[str, ...] = ()

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """The page of an answer.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        wallets = tuple(Wallet.read(wallet) for wallet in answer["wallets"])
        refused = tuple(row["userId"] for row in answer.get("refused", ()))
        return cls(wallets, answer["nextCursor"], refused)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result for one user of a batch: a wallet (created now, or found), or this user's own problem."""

    user_id: str
    created: bool
    wallet: Wallet | None
    problem: Problem | None

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """The result of one member of an answer.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        problem = answer.get("problem")
        return cls(
            user_id=answer["userId"],
            created=answer["status"] == 201,  # noqa: PLR2004 - HTTP's Created
            wallet=Wallet.read(answer["wallet"]) if problem is None else None,
            problem=None if problem is None else Problem.read(problem, retry_after=None),
        )


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A wallet's bare private key, 0x and 64 hex digits: whoever holds it owns the wallet. Not in `repr`."""

    user_id: str
    wallet_address: str
    private_key: str = field(repr=False)

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """The key of an answer.

        Raises:
            KeyError, TypeError: it is not one.
        """
        return cls(answer["userId"], answer["walletAddress"], answer["privateKey"])


@dataclass(frozen=True, slots=True)
class ExportedKey:
    """A private key that travelled encrypted: 32 bytes, now in this process's memory. Not in `repr`."""

    wallet_address: str
    private_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature (0x and 65 bytes: r, s, v of 27 or 28) and the digest that was signed, in hex."""

    wallet_address: str
    signature: str
    message_hash: str

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """The signature of an answer.

        Raises:
            KeyError, TypeError: it is not one.
        """
        return cls(answer["walletAddress"], answer["signature"], answer["messageHash"])


@dataclass(frozen=True, slots=True)
class SignedAuthorization:
    """A signed EIP-7702 authorization, and the digest that was signed; `r` and `s` are numbers."""

    wallet_address: str
    chain_id: int
    address: str
    nonce: int
    y_parity: int
    r: int
    s: int
    authorization_hash: str

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """The authorization of an answer.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        signed = answer["authorization"]
        return cls(
            wallet_address=answer["walletAddress"],
            chain_id=int(signed["chainId"]),
            address=signed["address"],
            nonce=int(signed["nonce"]),
            y_parity=signed["yParity"],
            r=int(signed["r"], 16),
            s=int(signed["s"], 16),
            authorization_hash=answer["authorizationHash"],
        )


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Whether the token's policy would allow a signature; `reason` says why not, if not."""

    allowed: bool
    policy: str | None
    version: int | None
    rule: str | None
    reason: str | None

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """The result of an answer.

        Raises:
            KeyError: it is not one.
        """
        return cls(*(answer[name] for name in ("allowed", "policy", "version", "rule", "reason")))


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A signed transaction as `eth_sendRawTransaction` takes it, and its hash, in hex. It is not sent."""

    wallet_address: str
    raw_transaction: str
    transaction_hash: str

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """The transaction of an answer.

        Raises:
            KeyError, TypeError: it is not one.
        """
        return cls(answer["walletAddress"], answer["rawTransaction"], answer["transactionHash"])
