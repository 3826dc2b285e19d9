"""`pool doctor` on two Regions: each key and its replica side by side, and where they differ."""

import json
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner

from event_loop import each
from kms_endpoint import Reset
from kms_service.cli.pool.group import pool
from kms_service.kms.control_plane.administration import in_each_region
from kms_service.kms.control_plane.client import ControlPlane
from kms_service.kms.control_plane.inspection import Action, Inspection
from kms_service.kms.control_plane.key_policy import Roles, key_policy
from kms_service.service.pool.doctor import Check, CheckResult
from kms_service.service.pool.drift import RegionComparison
from kms_service.settings import Settings
from regions.two_regions import FALLBACK, HOME, PREFIX, TwoRegions, two_regions

ROLE = "arn:aws:iam::111122223333:role/kms-service"
POLICY = json.dumps(key_policy("arn:aws:iam::111122223333:root", Roles(create=[ROLE], reveal=[ROLE])))
FIRST = f"alias/{PREFIX}-1"


@pytest.fixture
def regions() -> Iterator[TwoRegions]:
    with two_regions(2) as regions:
        for endpoint in (regions.home, regions.fallback):
            for key in endpoint.store.keys.values():
                key.policy = POLICY
        yield regions


@pytest.fixture
def settings(regions: TwoRegions) -> Settings:
    return regions.settings("postgresql://localhost/none", kms_key_pool_size=2)


def _compare(settings: Settings) -> dict[str, Check]:
    home, there = in_each_region(settings)
    elsewhere = settings.in_fallback_region
    assert elsewhere is not None
    comparison = RegionComparison(home, there, Inspection(ControlPlane(elsewhere)), [Action.DECRYPT])
    return {check.name: check for check in each(comparison.examine(settings.aliases))}


def test_matching_replicas_pass(settings: Settings) -> None:
    found = _compare(settings)
    assert [check.result for check in found.values()] == [CheckResult.GOOD] * 4
    assert found[f"{PREFIX}-1 in {FALLBACK}"].detail == f"same as in {HOME}"
    assert found[f"may Decrypt in {FALLBACK}"].detail == "allowed by all 2 replicas"


def _disable(regions: TwoRegions) -> None:
    regions.fallback.key(FIRST).state = "Disabled"


def _change_policy(regions: TwoRegions) -> None:
    document = json.loads(POLICY)
    document["Statement"] = [each for each in document["Statement"] if each["Sid"] != "RevealWallets"]
    regions.fallback.key(FIRST).policy = json.dumps(document)


def _change_tags(regions: TwoRegions) -> None:
    key = regions.fallback.key(FIRST)
    key.store.backend.tag_resource(key.id, {"Owner": "somebody"})


def _change_rotation(regions: TwoRegions) -> None:
    regions.home.key(FIRST).rotation_period = 90


def _point_at_other_key(regions: TwoRegions) -> None:
    regions.fallback.store.set_alias(FIRST, regions.fallback.store.create("theirs"))


def _delete_alias(regions: TwoRegions) -> None:
    regions.fallback.store.backend.delete_alias(FIRST)


def _use_single_region_key(regions: TwoRegions) -> None:
    regions.home.store.set_alias(FIRST, regions.home.store.create("alone"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_disable, "is Disabled, and Active in the first Region"),
        (_change_policy, "the policy lacks RevealWallets"),
        (_change_tags, "different tags: Owner"),
        (_change_rotation, "different rotation"),
        (_point_at_other_key, "the alias names another key"),
        (_delete_alias, "the alias: NotFoundException"),
        (_use_single_region_key, "is a single-Region key: its wallets open in no other Region"),
    ],
)
def test_every_difference_is_reported(
    regions: TwoRegions, settings: Settings, change: Callable[[TwoRegions], None], says: str
) -> None:
    change(regions)
    found = _compare(settings)
    check = found[f"{PREFIX}-1 in {FALLBACK}"]
    assert check.result is CheckResult.BAD
    assert says in check.detail
    assert check.advice
    assert found[f"{PREFIX}-2 in {FALLBACK}"].result is CheckResult.GOOD


def test_a_property_that_may_not_be_read_is_reported_and_not_a_fault(
    regions: TwoRegions, settings: Settings
) -> None:
    with regions.fallback.deny(FIRST, "GetKeyPolicy", "ListResourceTags"):
        check = _compare(settings)[f"{PREFIX}-1 in {FALLBACK}"]
    assert check.result is CheckResult.GOOD
    assert check.detail.endswith("these credentials may not read policy and tags")


def test_a_role_that_may_open_nothing_there_is_reported(regions: TwoRegions, settings: Settings) -> None:
    with regions.fallback.deny(FIRST, "Decrypt"):
        check = _compare(settings)[f"may Decrypt in {FALLBACK}"]
    assert check.result is CheckResult.BAD
    assert check.detail.startswith("denied by arn:aws:kms:eu-west-1:")


def test_a_region_that_does_not_answer_is_reported(regions: TwoRegions, settings: Settings) -> None:
    with regions.fallback.on().answer(Reset()):
        (check,) = _compare(settings).values()
    assert (check.name, check.result) == (f"endpoint in {FALLBACK}", CheckResult.BAD)


def test_the_command_prints_the_differences(
    regions: TwoRegions, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_REGION": HOME,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_KMS": regions.home.url,
        "KMS_FALLBACK_REGION": FALLBACK,
        "KMS_FALLBACK_ENDPOINT_URL": regions.fallback.url,
        "KMS_KEY_POOL_SIZE": "2",
        "DATABASE_URL": database_url,
    }.items():
        monkeypatch.setenv(name, value)
    _disable(regions)
    result = CliRunner().invoke(pool, ["doctor", "--json"])
    assert result.exit_code == 1
    found = {check["name"]: check for check in json.loads(result.stdout)}
    assert "is Disabled" in found[f"{PREFIX}-1 in {FALLBACK}"]["detail"]
