"""moto's in-process mocks answer in place of AWS, as they do for boto3; without a mock nothing is asked."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import boto3
import pytest
from botocore import handlers
from moto import mock_aws
from pydantic import SecretStr

from kms_service.crypto import envelope
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.data_plane.hooks import Hooks
from kms_service.kms.errors import KmsKeyMissing
from kms_service.kms.keys.health import KeyHealth
from kms_service.kms.pool import KmsKeyPool
from kms_service.kms.regions.routes import connect_regions
from kms_service.settings import Settings

T = TypeVar("T")
CONTEXT = {"purpose": "wallet-dek", "wallet_address": "0x0"}
ALIAS = "alias/Empressa-wallet-key-1"
SETTINGS = Settings(
    _env_file=None,
    aws_region="eu-central-1",
    aws_access_key_id="test",
    aws_secret_access_key=SecretStr("test"),
    database_url=SecretStr("postgresql://localhost/none"),
    kms_key_pool_size=1,
)


def _with_kms(act: Callable[[AwsKmsService, KmsKeyPool], Awaitable[T]]) -> T:
    async def run() -> T:
        health = KeyHealth(4)
        kms = AwsKmsService(connect_regions(SETTINGS), health)
        try:
            return await act(kms, KmsKeyPool(kms, SETTINGS.aliases, health))
        finally:
            await kms.close()

    return asyncio.run(run())


@pytest.fixture
def key_arn() -> Iterator[str]:
    """A key in moto's memory, made with boto3 as the tests of a calling service do it."""
    with mock_aws():
        client = boto3.client("kms", region_name="eu-central-1")
        arn = client.create_key()["KeyMetadata"]["Arn"]
        client.create_alias(AliasName=ALIAS, TargetKeyId=arn)
        yield arn


def test_a_dek_is_wrapped_and_opened_by_moto(key_arn: str) -> None:
    async def act(kms: AwsKmsService, pool: KmsKeyPool) -> tuple[str, bool]:
        await pool.refresh()
        assert pool.reasons == {}
        dek = envelope.new_data_key()
        wrapped = await pool.wrap(dek, CONTEXT)
        opened = await kms.decrypt(wrapped.dek, CONTEXT)
        return wrapped.dek.key_arn, opened.dek.reveal() == dek.reveal()

    assert _with_kms(act) == (key_arn, True)


def test_a_refusal_by_moto_is_a_refusal_by_kms(key_arn: str) -> None:
    async def act(kms: AwsKmsService, _pool: KmsKeyPool) -> None:
        with pytest.raises(KmsKeyMissing):
            await kms.describe("alias/other")

    _with_kms(act)
    assert key_arn


def test_a_mock_that_has_ended_answers_nothing(key_arn: str) -> None:
    """moto leaves its hook in botocore's list for good."""
    assert key_arn
    hooks = Hooks()
    assert hooks.answer("DescribeKey", "https://kms.eu-central-1.amazonaws.com/", {}, b"{}") is not None
    with pytest.MonkeyPatch.context() as patch:
        stubber = next(handler for event, handler, *_ in handlers.BUILTIN_HANDLERS if event == "before-send")
        patch.setattr(stubber, "enabled", False)
        assert hooks.answer("DescribeKey", "https://kms.eu-central-1.amazonaws.com/", {}, b"{}") is None


@pytest.mark.parametrize(
    "event", ["before-send", "before-send.kms", "before-send.kms.Encrypt", "before-send.*.*"]
)
def test_a_hook_is_called_for_the_operations_that_it_names(
    monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    asked: list[str] = []

    def hook(event_name: str, request: object, **_: object) -> None:
        assert request is not None
        asked.append(event_name)

    monkeypatch.setattr(handlers, "BUILTIN_HANDLERS", [*handlers.BUILTIN_HANDLERS, (event, hook)])
    hooks = Hooks()
    for operation in ("Encrypt", "Decrypt"):
        assert hooks.answer(operation, "https://kms.example/", {"host": "kms.example"}, b"{}") is None
    assert "before-send.kms.Encrypt" in asked
    assert ("before-send.kms.Decrypt" in asked) == (event != "before-send.kms.Encrypt")


def test_where_botocore_is_not_loaded_there_is_no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "botocore.handlers")
    assert Hooks().answer("Encrypt", "https://kms.example/", {}, b"{}") is None
    assert "botocore.handlers" not in sys.modules
