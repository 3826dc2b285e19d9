"""A count and its noun, as people read them."""


def quantity(count: float, one: str, many: str) -> str:
    """How many of what there are: `1 wallet`, `2,000 wallets`; a verb may stand behind the noun."""
    return f"{count:,.0f} {one if count == 1 else many}"
