"""What the service stores follows the contract: another implementation opens it with KMS alone."""

import hmac
from typing import TYPE_CHECKING

import pytest

from event_loop import complete, enter
from kms_endpoint import KmsEndpoint
from kms_service.bootstrap import Services
from kms_service.kms.keys.arn import is_key
from kms_service.store.postgres.tables import row_mac_keys, wallets
from vectors import decoder
from wiring import TESTER

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient


def test_a_stored_wallet_opens_without_the_service(
    services: Services, kms_endpoint: KmsEndpoint, kms_client: "KMSClient"
) -> None:
    complete(services.wallets.create_wallet(TESTER, "alice"))
    released = complete(services.wallets.get_private_key_for_user(TESTER, "alice"))
    with enter(services.database.connection()) as connection:
        row = complete(connection.execute(wallets.select())).one()

    context = {"purpose": "wallet-dek", "wallet_address": row.wallet_address}
    reply = kms_client.decrypt(CiphertextBlob=row.encrypted_dek, EncryptionContext=context)
    wallet = decoder.verify_row(
        user_id="alice",
        wallet_address=row.wallet_address,
        dek=reply["Plaintext"],
        encrypted_seed=row.encrypted_seed,
    )

    assert wallet.private_key == released.private_key.reveal()
    assert wallet.address == released.wallet_address
    assert wallet.mnemonic is not None
    assert len(wallet.mnemonic.split(" ")) == 12
    assert wallet.compressed_public_key == row.compressed_public_key
    assert row.encrypted_seed[0] == 2
    assert (reply["KeyId"], kms_endpoint.region) == (row.kms_key_id, row.kms_region)


def test_a_stored_wallets_mac_is_made_anew_without_the_service(
    services: Services, kms_client: "KMSClient"
) -> None:
    complete(services.wallets.create_wallet(TESTER, "alice"))
    with enter(services.database.connection()) as connection:
        row = complete(connection.execute(wallets.select())).one()
        keys = complete(connection.execute(row_mac_keys.select().order_by(row_mac_keys.c.wrapping))).all()
    replies = [
        kms_client.decrypt(CiphertextBlob=key.wrapped_key, EncryptionContext={"purpose": "row-mac"})
        for key in keys
    ]
    assert [reply["KeyId"] for reply in replies] == [key.kms_key_id for key in keys]
    assert len({key.kms_key_id for key in keys}) == len({key.wrapped_key for key in keys}) == 3
    assert len({reply["Plaintext"] for reply in replies}) == len({key.key_id for key in keys}) == 1
    key, reply = keys[0], replies[0]
    covered = b"kms-service/wallet\x01"
    for field in ("alice", row.wallet_address, row.compressed_public_key):
        covered += len(field).to_bytes(2, "big") + field.encode()
    assert row.wallet_mac == hmac.digest(reply["Plaintext"], covered, "sha256")
    assert row.wallet_mac_key_id == key.key_id
    assert (key.number, key.wrapping, len(reply["Plaintext"])) == (1, 1, 32)


def test_every_wallet_has_a_dek_and_a_phrase_of_its_own(services: Services) -> None:
    for number in range(5):
        complete(services.wallets.create_wallet(TESTER, f"user-{number}"))
    with enter(services.database.connection()) as connection:
        rows = complete(connection.execute(wallets.select())).all()
    for column in ("wallet_address", "encrypted_seed", "encrypted_dek"):
        assert len({getattr(row, column) for row in rows}) == 5
    assert len({row.encrypted_seed[1:13] for row in rows}) == 5


@pytest.mark.invariant(5)
def test_a_wallet_keeps_its_key_when_every_alias_moves_to_another(
    services: Services, kms_endpoint: KmsEndpoint
) -> None:
    complete(services.wallets.create_wallet(TESTER, "alice"))
    for key in services.pool.keys:
        kms_endpoint.store.set_alias(key.alias, kms_endpoint.store.create("another"))
    assert complete(services.wallets.get_private_key_for_user(TESTER, "alice")).user_id == "alice"
    asked = [*kms_endpoint.find_requests("Encrypt"), *kms_endpoint.find_requests("Decrypt")]
    with enter(services.database.connection()) as connection:
        stored = complete(connection.execute(wallets.select())).one().kms_key_id
    assert all(is_key(name) for name in [stored, *(each.params["KeyId"] for each in asked)])
