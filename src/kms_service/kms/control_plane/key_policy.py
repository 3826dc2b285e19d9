"""The key policy of a pool's keys, as data: each role may do one thing, and none may destroy.

Only this policy grants cryptography: administrators of the account may manage a key through IAM, but no IAM
policy can add Encrypt, Decrypt or ReEncrypt for anybody. Encryption contexts separate the DEKs of wallets,
the MAC keys of audit chains and of rows, and the one-time keys of imports.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html and, for the conditions,
https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# An ARN, or an expression in a CloudFormation template that becomes one.
Principal = Any
Statement = dict[str, Any]

WALLET_DEK = "wallet-dek"
AUDIT_CHAIN = "audit-chain"
ROW_MAC = "row-mac"
WALLET_IMPORT = "wallet-import"

# What the account may do to a key through IAM: all but cryptography, and grants, which could pass it on.
ADMINISTRATION = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyLastUsage",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListAliases",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:ReplicateKey",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
DESCRIBING = ("kms:DescribeKey", "kms:GetKeyRotationStatus", "kms:ListKeyRotations", "kms:GetKeyLastUsage")
# Aliases too: moving one would put new wallets under another key.
DESTRUCTION = (
    "kms:ScheduleKeyDeletion",
    "kms:DisableKey",
    "kms:PutKeyPolicy",
    "kms:CreateAlias",
    "kms:UpdateAlias",
    "kms:DeleteAlias",
)
LEAST_DAYS_TO_DELETION = 30


@dataclass(frozen=True, slots=True)
class Roles:
    """IAM roles by what they are for; a role with two duties is listed twice.

    Attributes:
        create: make wallets.
        reveal: hand out private keys and sign.
        rotate: move wallets between keys, without ever seeing a DEK.
        audit: verify the audit chains.
        operate: make and change tokens and policies, and unseal; they unwrap keys of row MACs, and no DEK.
    """

    create: Sequence[Principal] = field(default=())
    reveal: Sequence[Principal] = field(default=())
    rotate: Sequence[Principal] = field(default=())
    audit: Sequence[Principal] = field(default=())
    operate: Sequence[Principal] = field(default=())

    @property
    def writing(self) -> list[Principal]:
        """Every role that writes audit rows, once."""
        return _deduplicate([*self.create, *self.reveal, *self.rotate, *self.operate])

    @property
    def all(self) -> list[Principal]:
        """Every role, once."""
        return _deduplicate([*self.writing, *self.audit])


def key_policy(account_root: Principal, roles: Roles) -> dict[str, Any]:
    """The policy document of one key.

    Args:
        account_root: `arn:aws:iam::<account>:root` of the account that owns the key.
        roles: who uses it; an empty list gets no statement.
    """
    statements = [
        _allow("AdministerThroughIam", [account_root], ADMINISTRATION),
        _allow("CreateWallets", roles.create, ["kms:Encrypt"], purpose=[WALLET_DEK, WALLET_IMPORT, ROW_MAC]),
        _allow("OpenImports", roles.create, ["kms:Decrypt"], purpose=[WALLET_IMPORT, ROW_MAC]),
        _allow("RevealWallets", roles.reveal, ["kms:Decrypt"], purpose=[WALLET_DEK, ROW_MAC]),
        _allow(
            "RotateWallets",
            roles.rotate,
            ["kms:ReEncryptFrom", "kms:ReEncryptTo"],
            purpose=[WALLET_DEK, AUDIT_CHAIN, ROW_MAC],
        ),
        _allow("MakeRowMacs", roles.operate, ["kms:Encrypt", "kms:Decrypt"], purpose=ROW_MAC),
        _allow("WriteChains", roles.writing, ["kms:Encrypt"], purpose=AUDIT_CHAIN),
        _allow("VerifyChains", roles.audit, ["kms:Decrypt"], purpose=AUDIT_CHAIN),
        _allow("DescribeKeys", roles.all, DESCRIBING),
        _statement("KeepFromDestroying", "Deny", roles.all, DESTRUCTION),
        _days_to_change_ones_mind(),
    ]
    return {
        "Version": "2012-10-17",
        "Statement": [statement for statement in statements if statement["Principal"]["AWS"]],
    }


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """How a key's policy differs from the wanted one: missing, different and extra statements, by name."""
    wanted_by_sid, found_by_sid = _index_by_sid(wanted), _index_by_sid(found)
    lacking = [f"lacks {sid}" for sid in wanted_by_sid if sid not in found_by_sid]
    besides = [f"also has {sid}" for sid in found_by_sid if sid not in wanted_by_sid]
    otherwise = [
        f"has another {sid}"
        for sid, statement in wanted_by_sid.items()
        if sid in found_by_sid and statement != found_by_sid[sid]
    ]
    return lacking + otherwise + besides


def let_in(policy: dict[str, Any]) -> list[str]:
    """Whom a policy's statements allow anything, each once, in order; `*` is anybody."""
    found: set[str] = set()
    statements = policy.get("Statement", [])
    for statement in [statements] if isinstance(statements, dict) else statements:
        if statement.get("Effect") == "Allow":
            # Without `Principal` there is a `NotPrincipal`, which lets in all but those it names.
            principal = statement.get("Principal", "*")
            for named in principal.values() if isinstance(principal, dict) else [principal]:
                found.update([named] if isinstance(named, str) else named)
    return sorted(found)


def _allow(
    sid: str,
    principals: Sequence[Principal],
    actions: Sequence[str],
    *,
    purpose: str | list[str] | None = None,
) -> Statement:
    statement = _statement(sid, "Allow", principals, actions)
    if purpose is not None:
        statement["Condition"] = {"StringEquals": {"kms:EncryptionContext:purpose": purpose}}
    return statement


def _days_to_change_ones_mind() -> Statement:
    # Denied even to administrators, so that there is time to hear the alarm and cancel the deletion.
    statement = _statement("KeepForThirtyDays", "Deny", ["*"], ["kms:ScheduleKeyDeletion"])
    days = {"kms:ScheduleKeyDeletionPendingWindowInDays": str(LEAST_DAYS_TO_DELETION)}
    return {**statement, "Condition": {"NumericLessThan": days}}


def _statement(sid: str, effect: str, principals: Sequence[Principal], actions: Sequence[str]) -> Statement:
    return {
        "Sid": sid,
        "Effect": effect,
        "Principal": {"AWS": list(principals)},
        "Action": list(actions),
        "Resource": "*",
    }


def _deduplicate(principals: Sequence[Principal]) -> list[Principal]:
    return [each for place, each in enumerate(principals) if each not in principals[:place]]


def _index_by_sid(policy: dict[str, Any]) -> dict[str, Any]:
    statements = policy.get("Statement", [])
    listed = statements if isinstance(statements, list) else [statements]
    return {
        str(each.get("Sid", f"statement {place}")): _normalise(each) for place, each in enumerate(listed, 1)
    }


def _normalise(value: Any) -> Any:
    # AWS writes a list of one as that one element, and does not keep the order of lists.
    if isinstance(value, dict):
        return {name: _normalise(member) for name, member in value.items()}
    if isinstance(value, list):
        return _normalise(value[0]) if len(value) == 1 else sorted(map(str, value))
    return value
