"""The key of row MACs, made while one Region is away: just as many KMS keys wrap it, none of them twice."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from event_loop import complete
from kms_endpoint import KmsEndpoint, Status
from kms_service.kms.keys.arn import in_region
from kms_service.service.row_macs import WRAPPED_BY
from wiring import FreshDatabase, running_services, settings_for

PREFIX = "Empressa-wallet-key"
HOME, FALLBACK = "eu-central-1", "eu-west-1"


@pytest.fixture
def regions() -> Iterator[tuple[KmsEndpoint, KmsEndpoint]]:
    with KmsEndpoint(region=HOME) as home, KmsEndpoint(region=FALLBACK, account=home.account) as fallback:
        home.add_pool(PREFIX, 5, multi_region=True)
        home.replicate_to(fallback)
        yield home, fallback


@pytest.mark.parametrize("away", ["neither", "the first"])
def test_a_key_is_wrapped_by_three_kms_keys_whichever_region_answers(
    fresh_database: FreshDatabase, regions: tuple[KmsEndpoint, KmsEndpoint], away: str
) -> None:
    home, fallback = regions
    with fresh_database() as url:
        changes: dict[str, Any] = {
            "kms_key_pool_size": 5,
            "kms_fallback_region": FALLBACK,
            "kms_fallback_endpoint_url": fallback.url,
        }
        settings = settings_for(url, home, **changes)
        if away != "neither":
            home.on().answer(Status(500))
        with running_services(settings) as services:
            for _ in range(2):
                complete(services.row_macs.tend())
            assert services.row_macs.loaded
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT kms_key_id, kms_region FROM row_mac_keys").fetchall()
    assert {str(row[1]) for row in rows} == {HOME if away == "neither" else FALLBACK}
    assert len(rows) == len({in_region(str(row[0]), HOME) for row in rows}) == WRAPPED_BY
