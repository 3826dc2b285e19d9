"""RemoteAccount signs exactly as a local account with the same key would."""

from typing import Any

import httpx
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct, encode_intended_validator, encode_typed_data
from eth_account.signers.local import LocalAccount

from calling import Service
from kms_service_client import InvalidRequest, KmsServiceClient, RemoteAccount, WalletNotFound

TO = "0x3535353535353535353535353535353535353535"
FEES = {"maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 10**9}
ACCESS = [{"address": TO, "storageKeys": ["0x" + "07" * 32]}]
TRANSACTIONS = {
    "legacy": {"chainId": 137, "nonce": 7, "gas": 21000, "gasPrice": 10**10, "to": TO, "value": 10**18},
    "access list": {"chainId": 1, "nonce": 0, "gas": 90000, "gasPrice": 1, "to": TO, "accessList": ACCESS},
    "fees": {"type": 2, "chainId": 1, "nonce": 1, "gas": 50000, "to": TO, "data": b"\x01\x02", **FEES},
    "hex": {
        "type": "0x2",
        "chainId": "0x1",
        "nonce": "0x0",
        "gas": "0x5208",
        "to": TO,
        "value": "0xff",
        **FEES,
    },
    "creation": {"chainId": 1, "nonce": 0, "gas": 10**6, "data": "0x6000", "to": b"", **FEES},
}
DOMAIN = {"name": "Shop", "version": "1", "chainId": 1, "verifyingContract": TO}
TYPES = {
    "Person": [{"name": "wallet", "type": "address"}],
    "Order": [
        {"name": "buyer", "type": "Person"},
        {"name": "price", "type": "uint256"},
        {"name": "proof", "type": "bytes32"},
        {"name": "parts", "type": "uint8[]"},
    ],
}
MESSAGE = {"buyer": {"wallet": TO}, "price": 2**255, "proof": b"\x09" * 32, "parts": [1, 2]}


@pytest.fixture(scope="module")
def remote(client: KmsServiceClient) -> RemoteAccount:
    client.ensure_wallet("account")
    return RemoteAccount(client, "account")


@pytest.fixture(scope="module")
def local(client: KmsServiceClient) -> LocalAccount:
    client.ensure_wallet("account")
    account: LocalAccount = Account.from_key(client.get_private_key("account").private_key)
    return account


def test_the_account_has_the_address_of_the_wallet(remote: RemoteAccount, local: LocalAccount) -> None:
    assert remote.address == local.address


@pytest.mark.parametrize("primitive", [b"", b"\x00\xff", "grüße".encode()])
def test_the_account_signs_messages(remote: RemoteAccount, local: LocalAccount, primitive: bytes) -> None:
    message = encode_defunct(primitive)
    assert remote.sign_message(message) == local.sign_message(message)


@pytest.mark.parametrize("transaction", TRANSACTIONS.values(), ids=TRANSACTIONS)
def test_the_account_signs_transactions(
    remote: RemoteAccount, local: LocalAccount, transaction: dict[str, Any]
) -> None:
    given = {**transaction, "from": remote.address}
    assert remote.sign_transaction(given) == local.sign_transaction(given)


def test_the_account_signs_typed_data_in_both_forms(remote: RemoteAccount, local: LocalAccount) -> None:
    expected = local.sign_typed_data(DOMAIN, TYPES, MESSAGE)
    assert remote.sign_typed_data(DOMAIN, TYPES, MESSAGE) == expected
    domain_type = [{"name": name, "type": "string"} for name in ("name", "version")]
    domain_type += [{"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"}]
    whole = {
        "domain": DOMAIN,
        "types": {**TYPES, "EIP712Domain": domain_type},
        "primaryType": "Order",
        "message": MESSAGE,
    }
    assert remote.sign_typed_data(full_message=whole) == expected


def test_the_account_signs_authorizations_and_transactions_with_them(
    remote: RemoteAccount, local: LocalAccount
) -> None:
    consent = {"chainId": 1, "address": TO, "nonce": 1}
    signed = remote.sign_authorization(consent)
    expected: object = local.sign_authorization(consent)
    assert signed == expected
    assert signed.authority.hex() == remote.address[2:].lower()
    transaction: Any = {
        **TRANSACTIONS["fees"],
        "type": 4,
        "authorizationList": [signed],
        "from": remote.address,
    }
    assert remote.sign_transaction(transaction) == local.sign_transaction(transaction)


def test_typed_data_needs_three_parts_or_the_whole(remote: RemoteAccount) -> None:
    for arguments in ((), (DOMAIN, TYPES), (DOMAIN, TYPES, MESSAGE, {"types": TYPES})):
        with pytest.raises(ValueError, match="full_message"):
            remote.sign_typed_data(*arguments)


def test_the_account_signs_nothing_that_the_service_cannot_read(remote: RemoteAccount) -> None:
    with pytest.raises(TypeError, match="sign_typed_data"):
        remote.sign_message(encode_typed_data(DOMAIN, TYPES, MESSAGE))
    with pytest.raises(TypeError, match="encode_defunct"):
        remote.sign_message(encode_intended_validator(TO, text="x"))
    with pytest.raises(TypeError, match="hash"):
        remote.unsafe_sign_hash(b"\x00" * 32)
    with pytest.raises(TypeError, match="blob"):
        remote.sign_transaction(TRANSACTIONS["fees"], blobs=[b"\x00"])


def test_the_account_does_not_sign_for_another_sender(remote: RemoteAccount) -> None:
    with pytest.raises(InvalidRequest):
        remote.sign_transaction({**TRANSACTIONS["legacy"], "from": TO})


def test_a_user_without_a_wallet_has_no_account(client: KmsServiceClient) -> None:
    with pytest.raises(WalletNotFound):
        _ = RemoteAccount(client, "account-nobody").address


def test_the_account_is_a_local_account_for_web3_and_holds_no_key(
    remote: RemoteAccount, client: KmsServiceClient
) -> None:
    held: object = remote
    assert isinstance(held, LocalAccount)  # as web3 asks
    assert not hasattr(remote, "key")
    assert not hasattr(remote, "encrypt")
    assert {remote, RemoteAccount(client, "account")} == {remote}
    assert repr(remote) == "RemoteAccount(user_id='account')"


class Counted(httpx.BaseTransport):
    """The network; it records what is sent, and over which connection."""

    def __init__(self) -> None:
        self.network = httpx.HTTPTransport()
        self.requests: list[str] = []
        self.connections: set[object] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.network.handle_request(request)
        self.requests.append(request.url.path)
        self.connections.add(response.extensions["network_stream"].get_extra_info("client_addr"))
        return response

    def close(self) -> None:
        self.network.close()


def test_signing_takes_one_connection_and_one_look_up(service: Service) -> None:
    counted = Counted()
    with KmsServiceClient(str(service.client.base_url), service.token, transport=counted) as client:
        account = RemoteAccount(client, "account")
        for nonce in range(20):
            account.sign_transaction({**TRANSACTIONS["fees"], "nonce": nonce, "from": account.address})
    assert len(counted.connections) == 1
    assert counted.requests == ["/wallets/account", *["/wallets/account/sign/transaction"] * 20]
