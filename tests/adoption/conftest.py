"""A table of the ported service beside ours, its keys in the KMS stand-in, and the command."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from adoption.foreign import ORIGINALS, b64
from kms_endpoint import KmsEndpoint
from kms_service.bootstrap import Services
from kms_service.cli.root import root
from kms_service.service.adoption import adopt as adoption
from kms_service.settings import Settings
from kms_service.store.adoption import source
from wiring import FreshDatabase, Original

Adopt = Callable[..., Result]
MADE_AT = "2024-02-29 23:59:59.123"
# As Prisma makes it.
_TABLE = """
    CREATE SCHEMA theirs;
    CREATE TABLE theirs."Wallet" (
        user_id uuid PRIMARY KEY, wallet_address text NOT NULL UNIQUE,
        compressed_public_key text NOT NULL UNIQUE, encrypted_seed text NOT NULL,
        encrypted_dek text NOT NULL, kms_key_id text, created_at timestamp(3) without time zone NOT NULL
    )
"""


@dataclass(frozen=True)
class Ported:
    """The ported service's database and keys."""

    url: str
    kms: KmsEndpoint

    def insert(self, row: dict[str, Any]) -> None:
        """Keep a row as the ported service's code keeps it, its DEK wrapped by the stand-in."""
        with psycopg.connect(self.url) as connection:
            connection.execute(
                'INSERT INTO theirs."Wallet" VALUES (%s, %s, %s, %s, %s, %s, %s)',
                (
                    row["userId"], row["walletAddress"], row["compressedPublicKey"], row["encryptedSeed"],
                    row["encryptedDek"], row["kmsKeyId"], MADE_AT,
                ),
            )  # fmt: skip

    def wrap(self, row: dict[str, Any]) -> dict[str, Any]:
        """An original row, its DEK wrapped without a context under a key of the same id in the stand-in."""
        arn = self.kms.store.arn(f"key/{row['kmsKeyId']}")
        key = self.kms.store.keys.get(arn) or self.kms.store.create("theirs", key_id=row["kmsKeyId"])
        blob = b64(key.wrap(bytes.fromhex(row["dek"]), {}))
        return {**row, "encryptedDek": f'{{"encryptedData":"{blob}","kmsKeyId":"{row["kmsKeyId"]}"}}'}

    def change(self, statement: str) -> None:
        """Do something to the table."""
        with psycopg.connect(self.url) as connection:
            connection.execute(statement.encode())

    def all(self) -> list[tuple[Any, ...]]:
        """Every row."""
        with psycopg.connect(self.url) as connection:
            return connection.execute('SELECT * FROM theirs."Wallet" ORDER BY user_id').fetchall()


@pytest.fixture(scope="module")
def first_ported(fresh_database: FreshDatabase) -> Iterator[Ported]:
    """Six wallets of the ported service, made once; each test has a copy of them and of their KMS."""
    with fresh_database() as url, KmsEndpoint() as kms:
        kms.add_pool("Empressa-wallet-key", 10)
        ported = Ported(url, kms)
        ported.change(_TABLE)
        for row in ORIGINALS:
            ported.insert(ported.wrap(row))
        yield ported


@pytest.fixture
def original(first_ported: Ported) -> Original:
    """Our database is empty; KMS has the keys of both services."""
    return Original(None, first_ported.kms.account)


@pytest.fixture
def ported(
    first_ported: Ported, fresh_database: FreshDatabase, kms_endpoint: KmsEndpoint
) -> Iterator[Ported]:
    """Six wallets of the ported service."""
    with fresh_database(first_ported.url) as url:
        yield Ported(url, kms_endpoint)


@pytest.fixture
def adopt(
    ported: Ported, services: Services, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Adopt:
    """Runs the command as an operator does."""
    assert services.pool.described  # checked at start, so the schema is there
    for name, value in command_environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(adoption, "BACK_OFF_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(source, "PAGE_ROWS", 2)
    theirs = ("adopt", "--from", ported.url, "--schema", "theirs", "--table", "Wallet")
    return lambda *options: CliRunner().invoke(root, [*theirs, *options])


def command_environment(settings: Settings) -> dict[str, str]:
    """What a command of this test's service finds in its environment."""
    return {
        "AWS_REGION": settings.aws_region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_KMS": str(settings.aws_endpoint_url_kms),
        "DATABASE_URL": settings.database_url.get_secret_value(),
    }
