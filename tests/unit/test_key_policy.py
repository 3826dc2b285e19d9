"""The key policy grants each role its one thing and refuses the rest, evaluated as AWS evaluates it."""

import json

import pytest

from kms_service.kms.control_plane.key_policy import Roles, differences, key_policy
from kms_service.local.iam import allows

ROOT = "arn:aws:iam::111122223333:root"
CREATE, REVEAL, ROTATE, AUDIT, OPERATE, STRANGER = (
    f"arn:aws:iam::111122223333:role/{name}"
    for name in ("create", "reveal", "rotate", "audit", "operate", "stranger")
)
POLICY = key_policy(ROOT, Roles([CREATE], [REVEAL], [ROTATE], [AUDIT], [OPERATE]))
WALLET, CHAIN = {"purpose": "wallet-dek", "wallet_address": "0x0"}, {"purpose": "audit-chain"}
NONE: dict[str, str] = {}
CONTEXTS = {
    "wallet": WALLET,
    "chain": CHAIN,
    "row": {"purpose": "row-mac"},
    "import": {"purpose": "wallet-import", "import_id": "0"},
    "no": NONE,
    "other": {"purpose": "else"},
}

CRYPTOGRAPHY = (
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:CreateGrant",
)
DESTRUCTION = ("kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:PutKeyPolicy")

# Who may do what in which context: all of it.
GRANTED = {
    (CREATE, "kms:Encrypt", "wallet"),
    (REVEAL, "kms:Decrypt", "wallet"),
    (ROTATE, "kms:ReEncryptFrom", "wallet"),
    (ROTATE, "kms:ReEncryptTo", "wallet"),
    (CREATE, "kms:Encrypt", "chain"),
    (REVEAL, "kms:Encrypt", "chain"),
    (ROTATE, "kms:Encrypt", "chain"),
    (AUDIT, "kms:Decrypt", "chain"),
    (ROTATE, "kms:ReEncryptFrom", "chain"),
    (ROTATE, "kms:ReEncryptTo", "chain"),
    (CREATE, "kms:Encrypt", "row"),
    (CREATE, "kms:Decrypt", "row"),
    (REVEAL, "kms:Decrypt", "row"),
    (ROTATE, "kms:ReEncryptFrom", "row"),
    (ROTATE, "kms:ReEncryptTo", "row"),
    (OPERATE, "kms:Encrypt", "row"),
    (OPERATE, "kms:Decrypt", "row"),
    (OPERATE, "kms:Encrypt", "chain"),
    (CREATE, "kms:Encrypt", "import"),
    (CREATE, "kms:Decrypt", "import"),
}


@pytest.mark.parametrize("action", CRYPTOGRAPHY)
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("principal", [ROOT, CREATE, REVEAL, ROTATE, AUDIT, OPERATE, STRANGER])
def test_cryptography_is_granted_to_the_one_role_in_the_one_context(
    principal: str, action: str, context: str
) -> None:
    assert allows(POLICY, principal, action, CONTEXTS[context]) == ((principal, action, context) in GRANTED)


@pytest.mark.parametrize("action", DESTRUCTION)
def test_only_the_account_may_destroy_a_key(action: str) -> None:
    assert not any(
        allows(POLICY, role, action, {}) for role in (CREATE, REVEAL, ROTATE, AUDIT, OPERATE, STRANGER)
    )
    assert allows(POLICY, ROOT, action, {})


@pytest.mark.parametrize("action", DESTRUCTION)
def test_destruction_is_denied_and_not_merely_left_out(action: str) -> None:
    """So that a statement added later, or an IAM policy, does not grant it."""
    wider = {"Sid": "Later", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}
    policy = {**POLICY, "Statement": [*POLICY["Statement"], wider]}
    assert not any(allows(policy, role, action, {}) for role in (CREATE, REVEAL, ROTATE, AUDIT, OPERATE))


@pytest.mark.parametrize("role", [CREATE, REVEAL, ROTATE, AUDIT, OPERATE])
def test_every_role_may_describe(role: str) -> None:
    assert allows(POLICY, role, "kms:DescribeKey", {})
    assert allows(POLICY, role, "kms:GetKeyRotationStatus", {})


def test_one_role_may_be_named_for_two_things() -> None:
    policy = key_policy(ROOT, Roles(create=[CREATE], reveal=[CREATE]))
    assert allows(policy, CREATE, "kms:Encrypt", WALLET)
    assert allows(policy, CREATE, "kms:Decrypt", WALLET)
    assert "RotateWallets" not in {statement["Sid"] for statement in policy["Statement"]}


def test_the_account_keeps_the_means_to_change_the_policy() -> None:
    """Without them KMS refuses the policy: it would lock everybody out."""
    assert allows(POLICY, ROOT, "kms:PutKeyPolicy", {})


def test_differences_from_the_policy_are_reported() -> None:
    found = json.loads(json.dumps(POLICY))
    assert differences(POLICY, found) == []
    found["Statement"][1]["Action"] = "kms:Encrypt"  # AWS writes a list of one like this
    assert differences(POLICY, found) == []
    found["Statement"][1]["Action"] = "kms:*"
    del found["Statement"][-1]
    found["Statement"].append({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*"})
    assert differences(POLICY, found) == [
        "lacks KeepForThirtyDays",
        "has another CreateWallets",
        f"also has statement {len(POLICY['Statement'])}",
    ]


@pytest.mark.parametrize(("days", "allowed"), [(7, False), (29, False), (30, True)])
def test_nobody_deletes_a_key_within_thirty_days(days: int, allowed: bool) -> None:
    assert allows(POLICY, ROOT, "kms:ScheduleKeyDeletion", NONE, pending_days=days) is allowed


@pytest.mark.parametrize("role", [CREATE, REVEAL, ROTATE, AUDIT, OPERATE])
@pytest.mark.parametrize("action", ["kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias"])
def test_no_role_of_the_service_moves_an_alias(role: str, action: str) -> None:
    document = {**POLICY, "Statement": [*POLICY["Statement"], _ALL]}
    assert not allows(document, role, action, NONE)


_ALL = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "*", "Resource": "*"}
