"""KMS key ARNs: `arn:<partition>:kms:<region>:<account>:key/<id>`, never an alias (invariant 5)."""

import re

_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):\d{12}:key/[A-Za-z0-9-]+", re.ASCII)
MAX_LENGTH = 255


def is_key(value: str) -> bool:
    """Whether `value` is the ARN of a key that fits the column."""
    return len(value) <= MAX_LENGTH and _KEY_ARN.fullmatch(value) is not None


def region(value: str) -> str | None:
    """The Region of a key ARN; None when it is no key ARN."""
    match = _KEY_ARN.fullmatch(value)
    return None if match is None else match[1]
