"""Amounts as operators write them: decimal strings in the smallest unit, or in wei, gwei or ether."""

import re
from typing import Any

_AMOUNT = re.compile(r"(-?)(0|[1-9][0-9]{0,77})(?:\.([0-9]{1,18}))?(?: (wei|gwei|ether))?", re.ASCII)
_DECIMALS = {None: 0, "wei": 0, "gwei": 9, "ether": 18}
PATTERN = r"^(0|[1-9][0-9]{0,77})(\.[0-9]{1,18})?( (wei|gwei|ether))?$"
"""The pattern of an unsigned amount, for a JSON Schema."""


def amount(value: Any) -> int:
    """An amount in the smallest unit: `"100"`, `"0.5 ether"`, `"30 gwei"`; never a JSON number.

    Raises:
        ValueError: anything else, such as a fraction of the smallest unit.
    """
    shape = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if shape is None:
        raise ValueError('must be an amount: a decimal string, such as "100", "30 gwei" or "0.5 ether"')
    sign, whole, fraction, unit = shape.groups()
    decimals = _DECIMALS[unit]
    digits = fraction or ""
    if len(digits) > decimals:
        raise ValueError("has more decimals than its unit")
    number = int(whole + digits.ljust(decimals, "0"))
    return -number if sign else number


def unsigned_amount(value: Any) -> int:
    """An amount of zero or more, in the smallest unit, in the forms of `amount`.

    Raises:
        ValueError: anything else.
    """
    number = amount(value)
    if number < 0:
        raise ValueError("must not be negative")
    return number
