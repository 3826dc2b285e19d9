"""The Python client against the running service."""

import asyncio
import inspect
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from eth_account import Account

import kms_service_client
from calling import Service, make_token
from kms_endpoint import Error
from kms_service.access.scopes import Scope
from kms_service_client import (
    AsyncKmsServiceClient,
    InvalidRequest,
    InvalidUserId,
    KmsServiceClient,
    NotAuthenticated,
    NotAuthorized,
    Problem,
    ServiceUnavailable,
    UnexpectedAnswer,
    WalletExists,
    WalletNotFound,
)

TYPED_DATA = {
    "domain": {"name": "Shop", "chainId": 1},
    "types": {"Order": [{"name": "id", "type": "uint256"}, {"name": "note", "type": "bytes"}]},
    "message": {"id": 2**200, "note": b"\x01\x02"},
}
TRANSACTION = {"chainId": 1, "nonce": 0, "gas": 21000, "gasPrice": 10**17, "to": "0x" + "35" * 20}


def another(service: Service, token: str, **options: Any) -> KmsServiceClient:
    return KmsServiceClient(str(service.client.base_url), token, **options)


def test_a_wallet_is_created_found_and_ensured(client: KmsServiceClient) -> None:
    made = client.create_wallet("py-alice")
    assert made.user_id == "py-alice"
    assert made.created_at.utcoffset() == timedelta(0)
    assert re.fullmatch(r"0x0[23][0-9a-f]{64}", made.compressed_public_key)
    assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=5)
    assert client.get_wallet("py-alice") == client.ensure_wallet("py-alice") == made


def test_a_second_creation_names_the_first_ones_address(client: KmsServiceClient) -> None:
    made = client.create_wallet("py-twice")
    with pytest.raises(WalletExists) as caught:
        client.create_wallet("py-twice")
    assert caught.value.wallet_address == made.wallet_address
    assert (caught.value.code, caught.value.status) == ("wallet_exists", 409)
    assert caught.value.request_id


def test_pages_come_one_after_the_other(client: KmsServiceClient, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [f"py-page-{number}" for number in range(5)]
    client.ensure_wallets(users)
    monkeypatch.setattr("kms_service_client.calls.PAGE_WALLETS", 2)
    assert [wallet.user_id for wallet in client.wallets() if wallet.user_id in users] == users
    first = client.get_wallet(users[0])
    assert all(
        wallet.kms_key_id == first.kms_key_id for wallet in client.wallets(kms_key_id=first.kms_key_id)
    )


def test_a_batch_is_cut_into_requests_and_answered_in_order(
    client: KmsServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kms_service_client.calls.BATCH_USERS", 2)
    client.ensure_wallet("py-batch-1")
    users = ["py-batch-0", "py-batch-1", "py-batch-2"]
    results = client.ensure_wallets(users)
    assert [result.user_id for result in results] == users
    assert [result.created for result in results] == [True, False, True]
    assert results[1].wallet == client.get_wallet("py-batch-1")


def test_one_failure_of_a_batch_is_that_users_problem_alone(
    client: KmsServiceClient, service: Service
) -> None:
    there = client.ensure_wallet("py-there")
    with service.kms.on("Encrypt").answer(Error("ThrottlingException")):
        good, bad = client.ensure_wallets(["py-there", "py-throttled"])
    assert (good.wallet, good.problem) == (there, None)
    assert bad.wallet is None
    assert isinstance(bad.problem, ServiceUnavailable)
    assert bad.problem.code == "kms_throttled"


def test_an_impossible_user_is_a_problem_of_one_item(client: KmsServiceClient) -> None:
    good, bad = client.ensure_wallets(["py-possible", "py/impossible"])
    assert good.wallet is not None
    assert isinstance(bad.problem, InvalidRequest)


def test_without_a_platform_verifier_its_key_is_not_found(client: KmsServiceClient) -> None:
    with pytest.raises(WalletNotFound):
        client.get_verifier_private_key()


def test_an_export_opens_to_the_private_key(client: KmsServiceClient) -> None:
    wallet = client.create_wallet("py-export")
    bare, exported = client.get_private_key("py-export"), client.export_private_key("py-export")
    assert "0x" + exported.private_key.hex() == bare.private_key
    assert exported.wallet_address == bare.wallet_address == wallet.wallet_address


@pytest.mark.parametrize(
    "secret", [b"\x09" * 32, "legal winner thank year wave sausage worth useful legal winner thank yellow"]
)
def test_a_key_or_phrase_is_imported(client: KmsServiceClient, secret: bytes | str) -> None:
    user = f"py-import-{type(secret).__name__}"
    Account.enable_unaudited_hdwallet_features()
    account = Account.from_key(secret) if isinstance(secret, bytes) else Account.from_mnemonic(secret)
    assert client.import_wallet(user, secret).wallet_address == account.address
    assert client.export_private_key(user).private_key == bytes(account.key)
    with pytest.raises(WalletExists):
        client.import_wallet(user, secret)


def test_anything_that_is_not_a_key_is_not_imported(client: KmsServiceClient) -> None:
    with pytest.raises(InvalidRequest):
        client.import_wallet("py-import-none", "abandon " * 11 + "abandon")


def test_no_value_shows_a_secret(client: KmsServiceClient, service: Service) -> None:
    client.ensure_wallet("py-secret")
    bare, exported = client.get_private_key("py-secret"), client.export_private_key("py-secret")
    shown = f"{bare!r} {exported!r} {client!r} {client._http!r} {client._http.headers!r}"
    assert bare.private_key.removeprefix("0x") not in shown
    assert repr(exported.private_key) not in shown
    assert service.token not in shown


def test_problems_are_exceptions_of_their_own(client: KmsServiceClient, service: Service) -> None:
    with pytest.raises(WalletNotFound):
        client.get_wallet("py-nobody")
    with pytest.raises(InvalidRequest) as invalid:
        client.sign_transaction("py-nobody", {"chainId": 1})
    assert "body.transaction.nonce" in [error["field"] for error in invalid.value.errors]
    with another(service, "wrong") as stranger, pytest.raises(NotAuthenticated):
        stranger.get_wallet("py-nobody")
    reader = another(service, make_token(service.services, Scope.WALLETS_READ))
    with reader, pytest.raises(NotAuthorized, match="wallets:sign"):
        reader.sign_message("py-nobody", "hello")


def test_a_code_without_a_class_of_its_own_is_a_general_problem(
    client: KmsServiceClient, service: Service
) -> None:
    with another(service, service.token) as lost:
        lost._http.base_url = httpx.URL(f"{service.client.base_url}/nowhere")
        with pytest.raises(Problem) as caught:
            lost.get_wallet("py-nobody")
    assert (type(caught.value), caught.value.code) == (Problem, "not_found")
    del client


@pytest.mark.parametrize("user_id", ["", ".", "..", "a/b", "a/private-key", "a?b", "a%2Fb", "ä", "a" * 129])
def test_no_user_id_can_name_another_route(client: KmsServiceClient, user_id: str) -> None:
    with pytest.raises(InvalidUserId):
        client.get_wallet(user_id)


@pytest.mark.parametrize("user_id", ["a@b.c", "urn:x:1", "...", "-_-", "a" * 128])
def test_any_user_id_of_the_service_is_taken(client: KmsServiceClient, user_id: str) -> None:
    assert client.ensure_wallet(user_id).user_id == user_id


def test_an_answer_from_another_server_is_not_taken_for_the_service() -> None:
    pages = httpx.MockTransport(lambda _: httpx.Response(502, html="<h1>Bad gateway</h1>"))
    wrong = httpx.MockTransport(lambda _: httpx.Response(200, json={"privateKey": "0xsecret"}))
    for transport in (pages, wrong):
        with KmsServiceClient("http://proxy", "token", transport=transport) as client:
            with pytest.raises(UnexpectedAnswer) as caught:
                client.get_private_key("alice")
            assert "secret" not in str(caught.value)


def test_unknown_members_are_ignored() -> None:
    answer = {
        "userId": "alice",
        "walletAddress": "0x" + "00" * 20,
        "compressedPublicKey": "0x02" + "00" * 32,
        "kmsKeyId": "arn",
        "kmsRegion": "eu-west-1",
        "createdAt": "2026-01-02T03:04:05Z",
        "invented": {"tomorrow": True},
    }
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    with KmsServiceClient("http://newer", "token", transport=transport) as client:
        assert client.get_wallet("alice").created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_python_integers_and_bytes_arrive_unchanged(client: KmsServiceClient) -> None:
    client.ensure_wallet("py-values")
    assert client.sign_message("py-values", b"\xff\x00") == client.sign_message("py-values", b"\xff\x00")
    as_text = {**TYPED_DATA, "message": {"id": str(2**200), "note": "0x0102"}}
    assert client.sign_typed_data("py-values", TYPED_DATA) == client.sign_typed_data("py-values", as_text)
    written = {**TRANSACTION, "gasPrice": str(10**17)}
    assert client.sign_transaction("py-values", TRANSACTION) == client.sign_transaction("py-values", written)


def test_a_policy_can_be_asked_without_signing(client: KmsServiceClient) -> None:
    client.ensure_wallet("py-policy")
    assert client.foresee_message("py-policy", "hello").allowed
    assert client.foresee_typed_data("py-policy", TYPED_DATA).policy is None
    assert client.foresee_transaction("py-policy", TRANSACTION).reason is None


def test_the_asynchronous_client_answers_the_same(client: KmsServiceClient, service: Service) -> None:
    wallet = client.ensure_wallet("py-async")

    async def calls() -> None:
        async with AsyncKmsServiceClient(str(service.client.base_url), service.token) as other:
            assert await other.get_wallet("py-async") == await other.ensure_wallet("py-async") == wallet
            assert wallet in [each async for each in other.wallets()]
            assert (await other.list_wallets(limit=1)).next_cursor
            assert [result.wallet for result in await other.ensure_wallets(["py-async"])] == [wallet]
            signed = await asyncio.gather(*(other.sign_message("py-async", "hello") for _ in range(5)))
            assert set(signed) == {client.sign_message("py-async", "hello")}
            typed = await other.sign_typed_data("py-async", TYPED_DATA)
            assert typed == client.sign_typed_data("py-async", TYPED_DATA)
            sent = await other.sign_transaction("py-async", TRANSACTION)
            assert sent == client.sign_transaction("py-async", TRANSACTION)
            bare, encrypted = (
                await other.get_private_key("py-async"),
                await other.export_private_key("py-async"),
            )
            assert bare.private_key == "0x" + encrypted.private_key.hex()
            with pytest.raises(WalletExists):
                await other.create_wallet("py-async")

    asyncio.run(calls())


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, tuple[object, str | None]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {
            name: (tuple(inspect.signature(method).parameters), method.__doc__)
            for name, method in found
            if not name.startswith("_") and name not in {"close", "aclose"}
        }

    assert methods(KmsServiceClient) == methods(AsyncKmsServiceClient)


def test_every_public_name_exists() -> None:
    assert all(hasattr(kms_service_client, name) for name in kms_service_client.__all__)
    with pytest.raises(AttributeError):
        _ = kms_service_client.Nothing
