"""`kms-service pool create-aliases` against a scripted KMS: makes, resumes, adopts, and never changes."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from kms_endpoint import Error, KmsEndpoint
from kms_service.cli.pool.group import pool
from kms_service.kms.control_plane.administration import AdministrationFailed
from kms_service.local.iam import allows
from kms_service.local.kms.faults import Exchange
from kms_service.local.kms.protocol import Reply
from kms_service.service.pool.provision import TAG

ALIASES = [f"alias/Empressa-wallet-key-{number}" for number in range(1, 11)]
ROLES = ["--create-role", "arn:aws:iam::111122223333:role/create", "--account", "111122223333"]


@pytest.fixture
def kms() -> Iterator[KmsEndpoint]:
    with KmsEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def run(kms: KmsEndpoint, monkeypatch: pytest.MonkeyPatch) -> "Run":
    for name, value in {
        "AWS_REGION": kms.region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_KMS": kms.url,
    }.items():
        monkeypatch.setenv(name, value)
    return Run()


class Run:
    """Runs the command."""

    def __call__(self, *options: str) -> Result:
        return CliRunner().invoke(pool, ["create-aliases", *options])

    def steps(self, *options: str) -> list[dict[str, object]]:
        result = self("--json", *options)
        assert result.exit_code == 0, result.output
        steps: list[dict[str, object]] = json.loads(result.stdout)
        return steps


def _changes(kms: KmsEndpoint) -> int:
    return sum(kms.count(operation) for operation in ("CreateKey", "CreateAlias", "EnableKeyRotation"))


def _assert_whole(kms: KmsEndpoint, size: int = 10) -> None:
    assert len(kms.store.keys) == size, "no key is made twice"
    for alias in ALIASES[:size]:
        key = kms.key(alias)
        assert (key.rotation_period, key.tags[TAG]) == (365, alias)
        assert alias in key.description


def test_ten_keys_are_made_with_alias_tags_rotation_and_policy(kms: KmsEndpoint, run: Run) -> None:
    steps = run.steps(*ROLES)
    _assert_whole(kms)
    assert [(step["step"], step["alias"], step["keyId"]) for step in steps] == [
        ("create", alias, kms.key(alias).arn) for alias in ALIASES
    ]
    policy = json.loads(kms.key(ALIASES[0]).policy)
    assert allows(policy, ROLES[1], "kms:Encrypt", {"purpose": "wallet-dek"})
    assert not allows(policy, ROLES[1], "kms:Decrypt", {"purpose": "wallet-dek"})


def test_a_second_run_changes_nothing(kms: KmsEndpoint, run: Run) -> None:
    run(*ROLES)
    before = _changes(kms)
    steps = run.steps(*ROLES)
    assert _changes(kms) == before
    assert {step["step"] for step in steps} == {"adopt"}
    assert all(step["differences"] == [] for step in steps)


@pytest.mark.parametrize("operation", ["CreateKey", "CreateAlias", "EnableKeyRotation"])
def test_a_run_that_died_in_the_middle_is_resumed(kms: KmsEndpoint, run: Run, operation: str) -> None:
    rule = kms.on(operation).answer(_FromTheFifthOn())
    failed = run()
    assert isinstance(failed.exception, AdministrationFailed)
    assert f"{operation} for" in str(failed.exception)
    assert failed.stdout.count("created") == 4
    assert "Stopped after 4 of 10; run it again to go on." in failed.stderr
    rule.remove()
    run()
    _assert_whole(kms)


class _FromTheFifthOn:
    def __init__(self) -> None:
        self._met = 0

    async def __call__(self, exchange: Exchange) -> Reply | None:
        self._met += 1
        return None if self._met < 5 else await Error("LimitExceededException")(exchange)


def test_a_dry_run_says_what_it_would_do_and_does_nothing(kms: KmsEndpoint, run: Run) -> None:
    result = run("--dry-run")
    assert result.exit_code == 0
    assert result.stdout.count("would create") == 10
    assert _changes(kms) == 0


def test_an_existing_alias_is_adopted_and_its_differences_are_reported(kms: KmsEndpoint, run: Run) -> None:
    kms.add_pool("Empressa-wallet-key", 2)
    kms.key(ALIASES[0]).state = "Disabled"
    kms.key(ALIASES[1]).rotation_period = 90
    before = [(key.policy, key.rotation_period, dict(key.tags)) for key in kms.store.keys.values()]
    steps = run.steps(*ROLES)
    assert [step["step"] for step in steps] == ["adopt"] * 2 + ["create"] * 8
    assert steps[0]["differences"][:2] == [  # type: ignore[index]
        "the key is not usable: Disabled",
        "automatic rotation is off",
    ]
    assert "rotates every 90 days, not 365" in steps[1]["differences"]  # type: ignore[operator]
    assert "the policy lacks KeepFromDestroying" in steps[1]["differences"]  # type: ignore[operator]
    after = [(key.policy, key.rotation_period, dict(key.tags)) for key in kms.store.keys.values()]
    assert after[:2] == before


def test_a_key_that_cannot_rotate_is_adopted_and_shown_as_such(kms: KmsEndpoint, run: Run) -> None:
    run(*ROLES)
    before = _changes(kms)
    kms.on("GetKeyRotationStatus", key=ALIASES[0]).answer(Error("UnsupportedOperationException"))
    steps = run.steps(*ROLES)
    assert _changes(kms) == before
    assert [step["step"] for step in steps] == ["adopt"] * 10
    assert steps[0]["differences"] == ["KMS cannot rotate it: imported material or a custom key store"]
    assert all(step["differences"] == [] for step in steps[1:])


def test_a_larger_pool_gets_only_the_missing_keys(
    kms: KmsEndpoint, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMS_KEY_POOL_SIZE", "3")
    run()
    _assert_whole(kms, 3)
    monkeypatch.setenv("KMS_KEY_POOL_SIZE", "5")
    assert [step["step"] for step in run.steps()] == ["adopt"] * 3 + ["create"] * 2
    _assert_whole(kms, 5)


def test_another_rotation_period_is_set(kms: KmsEndpoint, run: Run) -> None:
    run("--rotation-days", "90")
    assert {key.rotation_period for key in kms.store.keys.values()} == {90}
    assert run("--rotation-days", "89").exit_code == 2


def test_without_roles_the_report_says_who_decides(run: Run) -> None:
    assert "IAM alone decides" in run().stdout


def test_the_policy_can_be_read_beforehand(kms: KmsEndpoint, run: Run) -> None:
    policy = json.loads(run(*ROLES, "--show-policy").stdout)
    assert policy["Statement"][0]["Principal"]["AWS"] == ["arn:aws:iam::111122223333:root"]
    assert kms.count() == 0
