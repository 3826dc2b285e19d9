"""What AWS KMS costs: the prices in one table, and a month's bill projected from keys and requests.

Source: "AWS Key Management Service Pricing" on aws.amazon.com, as published in 2026, with rotated keys as
changed in May 2024: US dollars, commercial Regions, without tax. A key's first and second rotation add a
dollar a month each, later ones nothing. The account's 20,000 free requests a month are not deducted, since
other services may use them up. A replica of a multi-Region key costs as much as a key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

KEY_MONTH = Decimal("1.00")
ROTATED_VERSION_MONTH = Decimal("1.00")
CHARGED_ROTATIONS = 2
REQUEST = Decimal("0.03") / 10_000
HEDGED_SHARE = Decimal("0.01")
TRIALS_A_DAY = 24 * 60

SECONDS_A_DAY = 86_400
DAYS_A_MONTH = Decimal(365) / 12


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a bill: a quantity per month, and the price of one in US dollars."""

    name: str
    quantity: Decimal
    price: Decimal

    @property
    def amount(self) -> Decimal:
        """US dollars per month."""
        return self.quantity * self.price


def keys(count: int, rotations: int) -> list[Item]:
    """The items for `count` keys, each rotated `rotations` times."""
    versions = count * min(rotations, CHARGED_ROTATIONS)
    return [
        Item("customer managed keys", Decimal(count), KEY_MONTH),
        Item("rotated versions", Decimal(versions), ROTATED_VERSION_MONTH),
    ]


def requests_of_plan(
    *, wallets: int, reads_a_day: int, key_count: int, processes: int, refresh_seconds: float
) -> dict[str, Decimal]:
    """Requests per month by what they are for, from a plan.

    Args:
        wallets: wallets made in a month; each is one Encrypt.
        reads_a_day: private keys, exports and signatures in a day; each is one Decrypt.
        key_count: keys of the pool.
        processes: serving processes; each of them describes every key (two requests) regularly.
        refresh_seconds: the time between two such descriptions.
    """
    looks = DAYS_A_MONTH * SECONDS_A_DAY / Decimal(refresh_seconds)
    return {
        "new wallets": Decimal(wallets),
        "private keys and signatures": reads_a_day * DAYS_A_MONTH,
        "checks of the keys' state": looks * 2 * key_count * processes,
    }


def requests_of_two_regions(
    a_month: Mapping[str, Decimal], *, processes: int, hedging: bool
) -> dict[str, Decimal]:
    """The requests of a plan, with those that a second Region adds.

    Args:
        a_month: as `requests_of_plan` returns it.
        processes: serving processes; each tries the second Region once a minute.
        hedging: whether the slowest hundredth of the Decrypts is sent to both Regions.
    """
    reads = a_month["private keys and signatures"] if hedging else Decimal(0)
    return {
        **a_month,
        "checks of the second Region": TRIALS_A_DAY * DAYS_A_MONTH * processes,
        "hedged private keys and signatures": reads * HEDGED_SHARE,
    }


def requests_at_rates(a_second: Mapping[str, float]) -> dict[str, Decimal]:
    """Requests per month by what they are for, if they continue at the observed rates per second."""
    return {name: Decimal(rate) * SECONDS_A_DAY * DAYS_A_MONTH for name, rate in a_second.items()}


def requests(a_month: Mapping[str, Decimal]) -> list[Item]:
    """The items for these requests per month."""
    return [Item(name, quantity, REQUEST) for name, quantity in a_month.items()]


def total(items: Iterable[Item]) -> Decimal:
    """The sum in US dollars per month."""
    return sum((item.amount for item in items), Decimal(0))
