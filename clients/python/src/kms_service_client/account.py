"""An account with eth-account's interface, whose key stays in the service. Needs the extra `eth`."""

from collections.abc import Mapping
from typing import Any, NoReturn

import rlp  # type: ignore[import-untyped,unused-ignore]
from eth_account.datastructures import SignedMessage, SignedSetCodeAuthorization, SignedTransaction
from eth_account.messages import SignableMessage
from eth_account.signers.base import BaseAccount
from eth_account.signers.local import LocalAccount
from eth_keys import datatypes
from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes

from kms_service_client.client import KmsServiceClient
from kms_service_client.values import Signature

_PERSONAL_MESSAGE = b"E"
_FIRST_LIST_BYTE = 0xC0  # a typed transaction begins with its type, which is below (EIP-2718)


class RemoteAccount(BaseAccount):
    """A user's wallet, for wherever eth-account's `LocalAccount` is accepted, as by web3.py's middleware.

    It has no `key`, and nothing that needs one: no `encrypt`, and no signing of a bare hash, since the
    service signs nothing that it cannot read.

    Args:
        client: with a token that holds `wallets:read` and `wallets:sign`.
        user_id: whose wallet it is; the wallet must exist.
    """

    def __init__(self, client: KmsServiceClient, user_id: str) -> None:
        self._client = client
        self._user_id = user_id
        self._address: ChecksumAddress | None = None

    @property
    def address(self) -> ChecksumAddress:
        """The wallet's address; the service is asked once.

        Raises:
            WalletNotFound: the user has no wallet.
        """
        if self._address is None:
            self._address = to_checksum_address(self._client.get_wallet(self._user_id).wallet_address)
        return self._address

    def sign_message(self, signable_message: SignableMessage) -> SignedMessage:
        """Sign what `encode_defunct` made.

        Raises:
            TypeError: it is typed data or another version of EIP-191, of which it holds only hashes.
        """
        if signable_message.version != _PERSONAL_MESSAGE:
            raise TypeError("only messages of encode_defunct; for typed data call sign_typed_data")
        return _to_signed_message(self._client.sign_message(self._user_id, signable_message.body))

    def sign_typed_data(
        self,
        domain_data: Mapping[str, Any] | None = None,
        message_types: Mapping[str, Any] | None = None,
        message_data: Mapping[str, Any] | None = None,
        full_message: Mapping[str, Any] | None = None,
    ) -> SignedMessage:
        """Sign typed data (EIP-712), given as three parts or as a whole.

        Raises:
            ValueError: neither is given, or both are.
        """
        parts = (domain_data, message_types, message_data)
        if full_message is not None and parts == (None, None, None):
            return _to_signed_message(self._client.sign_typed_data(self._user_id, full_message))
        if full_message is None and None not in parts:
            whole = {"domain": domain_data, "types": message_types, "message": message_data}
            return _to_signed_message(self._client.sign_typed_data(self._user_id, whole))
        raise ValueError("needs domain_data, message_types and message_data, or full_message alone")

    def sign_transaction(
        self, transaction_dict: Mapping[str, Any], blobs: object | None = None
    ) -> SignedTransaction:
        """Sign a transaction whose fields are all filled in, as web3.py does; send nothing.

        Raises:
            TypeError: it carries blobs, which the service does not sign.
        """
        if blobs is not None:
            raise TypeError("blob transactions are not signed")
        signed = self._client.sign_transaction(self._user_id, _fields(transaction_dict))
        raw = HexBytes(signed.raw_transaction)
        v, r, s = rlp.decode(raw if raw[0] >= _FIRST_LIST_BYTE else raw[1:])[-3:]
        return SignedTransaction(
            raw_transaction=raw,
            hash=HexBytes(signed.transaction_hash),
            r=int.from_bytes(r),
            s=int.from_bytes(s),
            v=int.from_bytes(v),
        )

    def sign_authorization(self, authorization: Mapping[str, Any]) -> SignedSetCodeAuthorization:
        """Sign the account's consent to run a contract's code (EIP-7702), for `authorizationList`.

        Raises:
            NotAuthorized: the token lacks `wallets:delegate`.
        """
        signed = self._client.sign_authorization(self._user_id, authorization)
        return SignedSetCodeAuthorization(
            chain_id=signed.chain_id,
            address=bytes.fromhex(signed.address[2:]),
            nonce=signed.nonce,
            y_parity=signed.y_parity,
            r=signed.r,
            s=signed.s,
            signature=datatypes.Signature(vrs=(signed.y_parity, signed.r, signed.s)),
            authorization_hash=HexBytes(signed.authorization_hash),
        )

    def unsafe_sign_hash(self, message_hash: object) -> NoReturn:  # noqa: ARG002 - eth-account's signature
        """Refuse: what a hash stands for cannot be checked.

        Raises:
            TypeError: always.
        """
        raise TypeError("a bare hash is not signed: sign the message, typed data or transaction")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteAccount) and self.address == other.address

    def __hash__(self) -> int:
        return hash((RemoteAccount, self.address))

    def __repr__(self) -> str:
        return f"RemoteAccount(user_id={self._user_id!r})"


# web3.py asks for a LocalAccount. This is one in all but the key, so it counts as one without inheriting.
LocalAccount.register(RemoteAccount)


def _to_signed_message(answer: Signature) -> SignedMessage:
    signature = HexBytes(answer.signature)
    return SignedMessage(
        message_hash=HexBytes(answer.message_hash),
        r=int.from_bytes(signature[:32]),
        s=int.from_bytes(signature[32:64]),
        v=signature[64],
        signature=signature,
    )


def _fields(transaction: Mapping[str, Any]) -> dict[str, Any]:
    # Callers of eth-account write a contract creation as an empty recipient.
    fields = {
        name: value for name, value in transaction.items() if name != "to" or value not in {b"", "", None}
    }
    if "authorizationList" in fields:
        fields["authorizationList"] = [_consent(each) for each in fields["authorizationList"]]
    return fields


def _consent(authorization: Any) -> Any:
    if isinstance(authorization, SignedSetCodeAuthorization):
        return authorization.model_dump(by_alias=True)
    return authorization
