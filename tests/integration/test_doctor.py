"""`kms-service pool doctor`: every check, good and bad, against a KMS that enforces key policies."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from event_loop import complete, each
from kms_endpoint import Error, KmsEndpoint, Reset
from kms_service.bootstrap import build
from kms_service.cli.pool.group import pool
from kms_service.kms.control_plane.administration import AdministrationFailed
from kms_service.kms.control_plane.client import ControlPlane
from kms_service.kms.control_plane.identity import Identity
from kms_service.kms.control_plane.inspection import Inspection
from kms_service.kms.control_plane.key_policy import Roles, key_policy
from kms_service.service.pool.doctor import Check, CheckResult, Doctor, Duty
from kms_service.settings import Settings
from wiring import settings_for

ADOPTION = Path(__file__).parents[2] / "deploy/iam/adoption.json"
ROLE = "arn:aws:iam::111122223333:role/kms-service"
STRANGER = "arn:aws:iam::999988887777:root"
NAME = "Empressa-wallet-key"
KEYS = 4  # each is asked what each duty asks
POLICY = key_policy("arn:aws:iam::111122223333:root", Roles(create=[ROLE], reveal=[ROLE]))


async def _identify() -> Identity:
    return Identity("111122223333", ROLE)


async def _fail_to_identify() -> Identity:
    raise AdministrationFailed("GetCallerIdentity", "these credentials", "NoCredentialsError")


@dataclass
class Patient:
    """A pool whose keys are all as they should be, and everything that is known about it."""

    kms: KmsEndpoint
    settings: Settings
    identify: Callable[[], Awaitable[Identity]] = _identify
    duties: Sequence[Duty] = (Duty.CREATE, Duty.REVEAL)
    adopted_from: Sequence[str] = ()

    def examine(self) -> dict[str, Check]:
        services = build(self.settings)
        try:
            # As if it were AWS: policies are enforced here, unlike by other stand-ins.
            settings = self.settings.model_copy(update={"aws_endpoint_url_kms": None})
            inspection = Inspection(ControlPlane(self.settings))
            doctor = Doctor(
                settings,
                self.identify,
                inspection,
                services.pool,
                services.database,
                self.duties,
                self.adopted_from,
            )
            return {check.name: check for check in each(doctor.examine())}
        finally:
            complete(services.close())

    def bad(self) -> dict[str, Check]:
        return {name: check for name, check in self.examine().items() if check.result is CheckResult.BAD}


@pytest.fixture
def settings(database_url: str, kms_endpoint: KmsEndpoint) -> Settings:
    return settings_for(database_url, kms_endpoint, kms_key_pool_size=KEYS)


@pytest.fixture
def patient(kms_endpoint: KmsEndpoint, settings: Settings) -> Patient:
    for key in kms_endpoint.store.keys.values():
        key.policy, key.rotation_period, key.rotation_enabled_at = json.dumps(POLICY), 365, key.created
    kms_endpoint.principal = ROLE
    return Patient(kms_endpoint, settings)


def _set_policy(kms: KmsEndpoint, roles: Roles, *numbers: int) -> None:
    for number in numbers or range(1, KEYS + 1):
        policy = key_policy("arn:aws:iam::111122223333:root", roles)
        kms.key(f"alias/{NAME}-{number}").policy = json.dumps(policy)


def test_all_is_well(patient: Patient) -> None:
    checks = patient.examine()
    # A role that serves does not read policies; an administrator does.
    others = checks.pop("other policies")
    assert (others.result, others.detail) == (
        CheckResult.SKIPPED,
        "key policies cannot be read: AccessDeniedException",
    )
    assert {check.result for check in checks.values()} == {CheckResult.GOOD}
    assert ROLE in checks["credentials"].detail
    assert len(checks) == 1 + 1 + 2 + KEYS + 4 + 4 + 1 + 1


def test_nothing_is_encrypted_or_decrypted(patient: Patient) -> None:
    patient.examine()
    asked = [
        each
        for each in patient.kms.requests
        if each.operation not in {"DescribeKey", "GetKeyRotationStatus", "ListKeyPolicies"}
    ]
    assert asked
    assert all(each.params["DryRun"] for each in asked)


def test_each_duty_needs_its_own_rights(patient: Patient) -> None:
    _set_policy(patient.kms, Roles(rotate=[ROLE]))
    patient.duties = [Duty.ROTATE]
    assert patient.bad() == {}
    patient.duties = [Duty.CREATE]
    assert set(patient.bad()) == {"may Encrypt", "may Decrypt with the purpose row-mac", "may not ReEncrypt"}
    _set_policy(patient.kms, Roles(operate=[ROLE]))
    patient.duties = [Duty.OPERATE]
    assert patient.bad() == {}
    patient.duties = [Duty.REVEAL]
    assert set(patient.bad()) == {"may Decrypt"}


def test_a_policy_that_lacks_something_is_named_with_its_key(patient: Patient) -> None:
    _set_policy(patient.kms, Roles(create=[ROLE]), 3)
    check = patient.bad()["may Decrypt"]
    assert check.detail == f"denied by {NAME}-3"
    assert "Name this role in the key policy for Decrypt" in check.advice


def test_a_policy_beside_a_keys_own_is_bad_and_names_whom_it_lets_in(patient: Patient) -> None:
    reading = {
        "Sid": "Read",
        "Effect": "Allow",
        "Principal": {"AWS": ROLE},
        "Action": ["kms:ListKeyPolicies", "kms:GetKeyPolicy"],
        "Resource": "*",
    }
    for key in patient.kms.store.keys.values():
        key.policy = json.dumps({**POLICY, "Statement": [*POLICY["Statement"], reading]})
    assert patient.examine()["other policies"].result is CheckResult.GOOD
    shared = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::999988887777:root"},
                "Action": "kms:Decrypt",
            },
            {"Effect": "Allow", "Principal": {"Service": ["x.amazonaws.com"]}, "Action": "kms:Decrypt"},
            {"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt"},
        ],
    }
    patient.kms.key(f"alias/{NAME}-2").shared_policies["AWSRAMShare"] = json.dumps(shared)
    patient.kms.key(f"alias/{NAME}-4").shared_policies["Anybody"] = json.dumps(
        {"Statement": {"Effect": "Allow", "NotPrincipal": {"AWS": ROLE}, "Action": "kms:Decrypt"}}
    )
    check = patient.bad()["other policies"]
    assert check.detail == (
        f"{NAME}-2: AWSRAMShare admits {STRANGER}, x.amazonaws.com; {NAME}-4: Anybody admits *"
    )
    assert "AWS RAM" in check.advice


def test_a_policy_that_gives_too_much_is_bad(patient: Patient) -> None:
    wide = {"Sid": "Wide", "Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "kms:*", "Resource": "*"}
    for key in patient.kms.store.keys.values():
        key.policy = json.dumps({"Version": "2012-10-17", "Statement": [wide]})
    bad = patient.bad()
    assert set(bad) == {
        "may not ReEncrypt",
        "may not Encrypt without a purpose",
        "may not GenerateDataKey",
        "may not CreateGrant",
    }
    assert bad["may not GenerateDataKey"].detail == f"allowed by {KEYS} keys, such as {NAME}-1"


@pytest.mark.parametrize(
    ("state", "detail", "advice"),
    [
        ("Disabled", "Disabled: Disabled", "aws kms enable-key --key-id"),
        ("PendingDeletion", "PendingDeletion: PendingDeletion", "cancel-key-deletion"),
    ],
)
def test_a_key_in_another_state_is_reported(patient: Patient, state: str, detail: str, advice: str) -> None:
    patient.kms.key(f"alias/{NAME}-2").state = state
    check = patient.bad()[f"{NAME}-2"]
    assert check.detail == detail
    assert advice in check.advice


def test_a_missing_alias_is_reported(patient: Patient) -> None:
    patient.kms.forget(f"alias/{NAME}-{KEYS}")
    assert "create-aliases creates it" in patient.bad()[f"{NAME}-{KEYS}"].advice


def test_a_key_that_may_not_be_described_is_reported(patient: Patient) -> None:
    patient.kms.deny(f"alias/{NAME}-1", "DescribeKey")
    assert "Allow kms:DescribeKey" in patient.bad()[f"{NAME}-1"].advice


def test_rotation_that_is_off_or_unknown_is_reported(patient: Patient) -> None:
    patient.kms.key(f"alias/{NAME}-1").rotation_period = None
    patient.kms.deny(f"alias/{NAME}-2", "GetKeyRotationStatus")
    bad = patient.bad()
    assert "aws kms enable-key-rotation" in bad[f"{NAME}-1"].advice
    assert "Allow kms:GetKeyRotationStatus" in bad[f"{NAME}-2"].advice


def test_a_key_that_cannot_rotate_is_not_a_fault(patient: Patient) -> None:
    patient.kms.on("GetKeyRotationStatus", key=f"alias/{NAME}-1").answer(
        Error("UnsupportedOperationException")
    )
    check = patient.examine()[f"{NAME}-1"]
    assert check.result is CheckResult.GOOD
    assert "no automatic rotation (imported material or a custom key store)" in check.detail


def test_missing_credentials_are_reported(patient: Patient) -> None:
    patient.identify = _fail_to_identify
    assert patient.bad()["credentials"].detail == "NoCredentialsError"


def test_an_endpoint_that_does_not_answer_is_reported(patient: Patient) -> None:
    patient.kms.on("DescribeKey").answer(Reset())
    checks = patient.examine()
    assert checks["endpoint"].result is CheckResult.BAD
    assert set(checks) == {"credentials", "proxy", "endpoint", "database", "tokens"}


def test_a_token_without_a_mac_is_named(patient: Patient) -> None:
    assert patient.examine()["tokens"].result is CheckResult.GOOD
    with psycopg.connect(patient.settings.database_url.get_secret_value()) as connection:
        connection.execute("INSERT INTO tokens (name, token_sha256, scopes) VALUES ('old', 'x', '{}')")
    check = patient.bad()["tokens"]
    assert check.detail.endswith(": old")
    assert check.advice == "kms-service token confirm"


def test_a_database_that_does_not_answer_is_reported(patient: Patient) -> None:
    url = patient.settings.database_url.get_secret_value().rpartition("/")[0] + "/nowhere"
    patient.settings = Settings(_env_file=None, **{**_arguments(patient.settings), "database_url": url})
    assert "Check DATABASE_URL" in patient.bad()["database"].advice


def _arguments(settings: Settings) -> dict[str, Any]:
    names = ("aws_region", "aws_access_key_id", "aws_secret_access_key", "aws_endpoint_url_kms")
    return {name: getattr(settings, name) for name in names}


def test_a_kms_that_throttles_the_questions_is_not_called_a_bad_policy(patient: Patient) -> None:
    # Each question backs off for up to three seconds.
    patient.settings = patient.settings.model_copy(update={"kms_key_pool_size": 2})
    patient.kms.on("GenerateDataKey").answer(Error("LimitExceededException"))
    check = patient.bad()["may not GenerateDataKey"]
    assert check.detail == f"not known: LimitExceededException by {NAME}-1, {NAME}-2"
    assert "did not answer the dry run" in check.advice


def test_an_adoption_that_is_over_may_unwrap_no_more(patient: Patient) -> None:
    old = patient.kms.store.create("theirs")
    old.kept.policy = json.dumps(key_policy("arn:aws:iam::111122223333:root", Roles(create=[ROLE])))
    patient.adopted_from = [old.arn]
    assert patient.examine()["adoption is over"].result is CheckResult.GOOD
    statement = json.loads(ADOPTION.read_text())["Statement"][0]
    granted = {
        "Sid": "Adoption",
        "Effect": "Allow",
        "Principal": {"AWS": [ROLE]},
        "Action": statement["Action"],
    }
    policy = json.loads(old.kept.policy)
    policy["Statement"].append({**granted, "Resource": "*"})
    old.kept.policy = json.dumps(policy)
    check = patient.bad()["adoption is over"]
    assert old.arn in check.detail
    assert "deploy/iam/adoption.json" in check.advice


def test_the_temporary_policy_allows_one_thing() -> None:
    [statement] = json.loads(ADOPTION.read_text())["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "kms:Decrypt")
    assert statement["Condition"] == {"Null": {"kms:EncryptionContextKeys": "true"}}
    assert statement["Resource"] == ["arn:aws:kms:REGION:ACCOUNT:key/OLD-KEY-ID"]


@pytest.fixture
def command(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    for name, value in _arguments(patient.settings).items():
        monkeypatch.setenv(name.upper(), getattr(value, "get_secret_value", lambda v=value: str(v))())
    monkeypatch.setenv("DATABASE_URL", patient.settings.database_url.get_secret_value())

    def run(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(pool, ["doctor", *options])
        return result.exit_code, result.stdout

    return run


def test_the_command_fits_one_screen_and_exits_0(command: Callable[..., tuple[int, str]]) -> None:
    code, output = command()
    assert code == 0
    assert len(output.splitlines()) <= 24
    assert all(line.startswith(("✓", "-")) for line in output.splitlines())


def test_the_command_exits_1_with_advice(command: Callable[..., tuple[int, str]], patient: Patient) -> None:
    patient.kms.key(f"alias/{NAME}-2").state = "Disabled"
    code, output = command()
    assert code == 1
    assert "    aws kms enable-key" in output
    code, output = command("--json")
    assert code == 1
    assert [each["name"] for each in json.loads(output) if each["finding"] == "bad"] == [f"{NAME}-2"]


@pytest.mark.parametrize(
    ("proxy", "finding", "detail"),
    [
        ("", CheckResult.GOOD, "none: KMS is called directly"),
        ("http://user:canary@proxy.internal:3128", CheckResult.GOOD, "through proxy.internal:3128"),
        ("socks5://canary:1080", CheckResult.BAD, "HTTPS_PROXY is no http:// URL"),
    ],
)
def test_the_proxy_is_shown_without_its_password(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, proxy: str, finding: CheckResult, detail: str
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    check = patient.examine()["proxy"]
    assert check.result is finding
    assert detail in check.detail
    assert "canary" not in check.detail
