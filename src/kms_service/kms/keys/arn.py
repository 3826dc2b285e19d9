"""KMS key ARNs: `arn:<partition>:kms:<region>:<account>:key/<id>`, never an alias (invariant 5)."""

import re

KEY = r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+"
"""The pattern of a key ARN, without anchors."""

_KEY = re.compile(KEY, re.ASCII)
_MULTI_REGION = ":key/mrk-"
MAX_LENGTH = 255


def is_key(value: str) -> bool:
    """Whether `value` is a key ARN, and short enough for its column."""
    return len(value) <= MAX_LENGTH and _KEY.fullmatch(value) is not None


def region(value: str) -> str | None:
    """The Region of a key ARN; None if it is not a key ARN."""
    return value.split(":")[3] if _KEY.fullmatch(value) else None


def is_multi_region(value: str) -> bool:
    """Whether `value` is the ARN of a multi-Region key, which may have replicas in other Regions."""
    return is_key(value) and _MULTI_REGION in value


def in_region(value: str, name: str) -> str:
    """The ARN of a multi-Region key in the Region `name`; any other value is returned as it is.

    Only the Region differs: partition, account and key id are those of `value`.
    """
    if not is_multi_region(value):
        return value
    arn, partition, service, _, rest = value.split(":", 4)
    return ":".join((arn, partition, service, name, rest))


def is_same_key(one: str, other: str) -> bool:
    """Whether two ARNs name the same key; those of a multi-Region key may differ in the Region."""
    return in_region(one, "any") == in_region(other, "any")
