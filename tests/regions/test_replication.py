"""`pool create-aliases --replicate-to`: replicas with policy, tags and alias; the impossible is reported."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from kms_endpoint import Error, KmsEndpoint
from kms_service.cli.pool.group import pool
from kms_service.kms.control_plane.administration import AdministrationFailed
from kms_service.local.kms.faults import Exchange
from kms_service.local.kms.protocol import Reply
from regions.two_regions import FALLBACK, HOME, PREFIX, TwoRegions

ALIASES = [f"alias/{PREFIX}-{number}" for number in range(1, 4)]
ROLES = ["--create-role", "arn:aws:iam::111122223333:role/create", "--account", "111122223333"]


@pytest.fixture
def regions() -> Iterator[TwoRegions]:
    with KmsEndpoint(region=HOME) as home, KmsEndpoint(region=FALLBACK, account=home.account) as fallback:
        yield TwoRegions(home, fallback)


@pytest.fixture
def run(regions: TwoRegions, monkeypatch: pytest.MonkeyPatch) -> "Run":
    for name, value in {
        "AWS_REGION": HOME,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_KMS": regions.home.url,
        "KMS_FALLBACK_REGION": FALLBACK,
        "KMS_FALLBACK_ENDPOINT_URL": regions.fallback.url,
        "KMS_KEY_POOL_SIZE": "3",
    }.items():
        monkeypatch.setenv(name, value)
    return Run()


class Run:
    """Runs the command."""

    def __call__(self, *options: str) -> Result:
        return CliRunner().invoke(pool, ["create-aliases", "--replicate-to", FALLBACK, *options])

    def replicas(self, *options: str, exit_code: int = 0) -> list[dict[str, str | None]]:
        result = self("--json", *options)
        assert result.exit_code == exit_code, result.output
        return [each["replica"] for each in json.loads(result.stdout)]


def _assert_replicated(regions: TwoRegions, size: int = 3) -> None:
    assert len(regions.home.store.keys) == len(regions.fallback.store.keys) == size
    for alias in ALIASES[:size]:
        key, replica = regions.home.key(alias), regions.fallback.key(alias)
        assert key.id.startswith("mrk-")
        assert (replica.id, replica.policy, replica.tags) == (key.id, key.policy, key.tags)
        assert replica.is_replica


def test_keys_are_multi_region_and_their_replicas_have_policy_tags_and_alias(
    regions: TwoRegions, run: Run
) -> None:
    replicas = run.replicas(*ROLES)
    _assert_replicated(regions)
    assert "role/create" in regions.fallback.key(ALIASES[0]).policy
    assert [each["keyId"] for each in replicas] == [regions.fallback.key(alias).arn for alias in ALIASES]
    assert {each["step"] for each in replicas} == {"replicate"}


def test_a_second_run_changes_nothing(regions: TwoRegions, run: Run) -> None:
    run()
    before = (
        len(regions.home.find_requests("ReplicateKey")),
        len(regions.fallback.find_requests("CreateAlias")),
    )
    assert {each["step"] for each in run.replicas()} == {"keep"}
    after = (
        len(regions.home.find_requests("ReplicateKey")),
        len(regions.fallback.find_requests("CreateAlias")),
    )
    assert after == before == (3, 3)


def test_a_dry_run_makes_nothing(regions: TwoRegions, run: Run) -> None:
    result = run("--dry-run")
    assert result.stdout.count("would create") == result.stdout.count("would replicate") == 3
    assert regions.home.store.keys == regions.fallback.store.keys == {}


class _FromTheSecondOn:
    def __init__(self) -> None:
        self._met = 0

    async def __call__(self, exchange: Exchange) -> Reply | None:
        self._met += 1
        return None if self._met < 2 else await Error("LimitExceededException")(exchange)


@pytest.mark.parametrize("operation", ["ReplicateKey", "CreateAlias"])
def test_a_run_that_died_in_the_middle_is_resumed(regions: TwoRegions, run: Run, operation: str) -> None:
    where = regions.home if operation == "ReplicateKey" else regions.fallback
    with where.on(operation).answer(_FromTheSecondOn()):
        failed = run()
    assert isinstance(failed.exception, AdministrationFailed)
    assert "Stopped after 1 of 3 replicas; run it again." in failed.stderr
    run()
    _assert_replicated(regions)


def test_keys_of_one_region_are_named_with_the_way_to_move_their_wallets(
    regions: TwoRegions, run: Run
) -> None:
    regions.home.add_pool(PREFIX, 2)
    result = run()
    assert result.exit_code == 1
    assert result.stdout.count(f"is a single-Region key of {HOME}, which KMS cannot make multi-Region") == 2
    assert "kms-service rotation start --from ALIAS --no-dry-run" in result.stdout
    assert [each["step"] for each in run.replicas(exit_code=1)] == ["refuse", "refuse", "keep"]
    assert len(regions.fallback.store.keys) == 1


def test_an_alias_that_names_another_key_there_is_left_alone(regions: TwoRegions, run: Run) -> None:
    theirs = regions.fallback.store.create("theirs")
    regions.fallback.store.set_alias(ALIASES[0], theirs)
    (first, *_) = run.replicas(exit_code=1)
    assert first["reason"] == f"names another key in {FALLBACK}: {theirs.id}"
    assert regions.fallback.key(ALIASES[0]) is theirs


@pytest.mark.usefixtures("run")
def test_the_second_region_must_differ_from_the_first() -> None:
    assert CliRunner().invoke(pool, ["create-aliases", "--replicate-to", HOME]).exit_code == 2
