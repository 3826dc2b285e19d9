"""How AWS decides on a key policy: what is not allowed is refused, and a Deny wins.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any


def allows(
    policy: Mapping[str, Any],
    principal: str,
    action: str,
    context: Mapping[str, str],
    *,
    pending_days: int | None = None,
) -> bool:
    """Whether the policy lets this principal do this to its key, in this encryption context.

    Args:
        policy: the key's.
        principal: an ARN.
        action: such as `kms:Decrypt`.
        context: the encryption context; empty for none.
        pending_days: of a request to delete the key.
    """
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if _includes(statement["Principal"]["AWS"], principal)
        and any(fnmatchcase(action, pattern) for pattern in _as_list(statement["Action"]))
        and _holds(statement.get("Condition", {}), context, pending_days)
    }
    return effects == {"Allow"}


def _includes(principals: object, principal: str) -> bool:
    return principal in _as_list(principals) or "*" in _as_list(principals)


def _holds(
    conditions: Mapping[str, Mapping[str, object]], context: Mapping[str, str], pending_days: int | None
) -> bool:
    given = {f"kms:EncryptionContext:{name}": value for name, value in context.items()}
    unknown = set(conditions) - {"StringEquals", "NumericLessThan"}
    if unknown:
        raise AssertionError(f"this evaluator does not know {unknown}")
    wanted = conditions.get("StringEquals", {})
    if any(pending_days is None or pending_days >= int(str(most)) for most in _upper_limits(conditions)):
        return False
    return all(given.get(name) in _as_list(values) for name, values in wanted.items())


def _upper_limits(conditions: Mapping[str, Mapping[str, object]]) -> list[object]:
    # The one number that a key policy of this service looks at is a deletion's waiting time.
    return list(conditions.get("NumericLessThan", {}).values())


def _as_list(value: object) -> list[str]:
    return value if isinstance(value, list) else [str(value)]
