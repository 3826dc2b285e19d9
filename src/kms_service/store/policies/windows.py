"""The `policy_windows` table: how much of each window was used up lately, over all replicas.

A window slides in steps, its slots: a minute in seconds, an hour in minutes, a day in quarters of an hour.
One slot more than the period has covers any such period, so a maximum is never exceeded, and what was used
counts for the period and at most one slot more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import BigInteger, bindparam, func, select, text, tuple_
from sqlalchemy import cast as sql_cast

from kms_service.store.postgres.database import Database
from kms_service.store.postgres.tables import policy_windows

Period = Literal["minute", "hour", "day"]
# For each period: the seconds of a slot, and how many slots are kept.
_SLOTS: Mapping[Period, tuple[int, int]] = {"minute": (1, 61), "hour": (60, 61), "day": (900, 97)}
_KEY = ("policy", "rule", "window_name", "subject", "asset")


@dataclass(frozen=True, slots=True)
class Need:
    """What one release needs of one window.

    Attributes:
        policy: the policy's name; all its versions count together.
        rule: the rule's id.
        window: the window's name within its rule; it does not change when the maximum does.
        subject: the user's id or the token's name.
        asset: the chain and contract whose amounts are counted separately; empty for counts and native value.
        per: the window's length.
        amount: how much this release needs.
        maximum: the window's maximum.
    """

    policy: str
    rule: str
    window: str
    subject: str
    asset: str
    per: Period
    amount: int
    maximum: int

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What identifies the window, and the order in which windows are locked."""
        return self.policy, self.rule, self.window, self.subject, self.asset


@dataclass(frozen=True, slots=True)
class WindowUse:
    """How much of one window is used now; amounts in the measure's smallest unit.

    Attributes:
        rule, window, subject, asset: as in `Need`.
        used: how much was used up within the period.
        maximum: the window's maximum, as of the last release that asked.
    """

    rule: str
    window: str
    subject: str
    asset: str
    used: int
    maximum: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Its place among the windows of its policy."""
        return self.rule, self.window, self.subject, self.asset

    @property
    def measure(self) -> str:
        """What is added up: `count`, or the measure of the sum."""
        return self.window.split(" ")[0]

    @property
    def per(self) -> str:
        """The period: `minute`, `hour` or `day`."""
        return self.window.split(" ")[2]

    @property
    def of(self) -> str:
        """Whose use is added up: a `wallet`'s or a `token`'s."""
        return self.window.split(" ")[4]

    @property
    def chain_id(self) -> str | None:
        """The chain of the asset; None for counts and native value."""
        return self.asset.partition(":")[0] or None

    @property
    def contract(self) -> str | None:
        """The contract of the asset; None for counts and native value."""
        return self.asset.partition(":")[2] or None


class PolicyWindowStore:
    """Statements on `policy_windows`.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, needs: Sequence[Need]) -> Need | None:
        """Use up the needed amounts of all these windows, or of none; exact under any concurrency.

        Returns:
            None if all had room; else the need of the first window that has none.
        """
        if not needs:
            return None
        # Always in the same order, or two releases could wait for each other's locks.
        ordered = sorted(needs, key=lambda need: need.key)
        async with self._database.transaction() as connection:
            rows = (await connection.execute(_TAKE, _columns(ordered))).all()
            taken = {tuple(row) for row in rows}
            full = next((need for need in needs if need.key not in taken), None)
            if full is not None:
                await connection.rollback()
        return full

    async def find_full(self, needs: Sequence[Need]) -> Need | None:
        """The need of the first of these windows that has no room now, or None; uses up nothing."""
        if not needs:
            return None
        statement = select(policy_windows, _NOW).where(
            tuple_(*(policy_windows.c[name] for name in _KEY)).in_([need.key for need in needs])
        )
        async with self._database.connection() as connection:
            rows = (await connection.execute(statement)).mappings().all()
        used = {tuple(row[name] for name in _KEY): _sum_used(row) for row in rows}
        return next((need for need in needs if used.get(need.key, 0) + need.amount > need.maximum), None)

    async def uses(
        self, policy: str, *, limit: int, after: tuple[str, str, str, str] | None
    ) -> list[WindowUse]:
        """The windows of a policy that were ever used, by rule, window, subject and asset.

        Args:
            policy: the policy's name.
            limit: how many windows to return at most.
            after: continue after this rule, window, subject and asset; None to begin.
        """
        order = [policy_windows.c[name] for name in _KEY[1:]]
        statement = select(policy_windows, _NOW).where(policy_windows.c.policy == policy)
        if after is not None:
            statement = statement.where(tuple_(*order) > after)
        async with self._database.connection() as connection:
            rows = (await connection.execute(statement.order_by(*order).limit(limit))).mappings().all()
        return [
            WindowUse(
                row["rule"],
                row["window_name"],
                row["subject"],
                row["asset"],
                _sum_used(row),
                int(row["maximum"]),
            )
            for row in rows
        ]


def _columns(needs: Sequence[Need]) -> dict[str, list[Any]]:
    slots = [_SLOTS[need.per] for need in needs]
    return {
        "policies": [need.policy for need in needs],
        "rules": [need.rule for need in needs],
        "windows": [need.window for need in needs],
        "subjects": [need.subject for need in needs],
        "assets": [need.asset for need in needs],
        "slot_seconds": [seconds for seconds, _ in slots],
        "slots": [count for _, count in slots],
        "amounts": [Decimal(need.amount) for need in needs],
        "maxima": [Decimal(need.maximum) for need in needs],
    }


def _sum_used(row: Mapping[Any, Any]) -> int:
    """How much was used within the window as of now."""
    passed = max(0, row["now"] // row["slot_seconds"] - row["slot"])
    # As integers: sums of decimals are exact to 28 digits only.
    return sum(int(amount) for amount in row["amounts"][: max(0, row["slots"] - passed)])


_NOW = sql_cast(func.floor(func.extract("epoch", func.statement_timestamp())), BigInteger).label("now")

# The amounts as of this statement: a zero for each slot that has passed, then the newest of the old ones.
_PASSED = "least(greatest(excluded.slot - used.slot, 0), used.slots)::int"
_AGED = f"(array_fill(0::numeric, ARRAY[{_PASSED}]) || used.amounts[1:used.slots - {_PASSED}])"
# Each row is locked and read as its last writer left it, so the sum includes every release.
_TAKE = text(
    f"""
    INSERT INTO policy_windows AS used
        (policy, rule, window_name, subject, asset, slot_seconds, slots, slot, amounts, maximum)
    SELECT policy, rule, window_name, subject, asset, slot_seconds, slots,
           floor(extract(epoch FROM statement_timestamp()) / slot_seconds)::bigint, ARRAY[amount], maximum
    FROM unnest(
        CAST(:policies AS text[]), CAST(:rules AS text[]), CAST(:windows AS text[]),
        CAST(:subjects AS text[]), CAST(:assets AS text[]),
        CAST(:slot_seconds AS int[]), CAST(:slots AS int[]),
        CAST(:amounts AS numeric[]), CAST(:maxima AS numeric[])
    ) AS needed
        (policy, rule, window_name, subject, asset, slot_seconds, slots, amount, maximum)
    WHERE amount <= maximum
    ON CONFLICT (policy, rule, window_name, subject, asset) DO UPDATE SET
        slot = greatest(used.slot, excluded.slot),
        amounts = ARRAY[{_AGED}[1] + excluded.amounts[1]] || {_AGED}[2:used.slots],
        maximum = excluded.maximum
    WHERE (SELECT coalesce(sum(amount), 0) FROM unnest({_AGED}) AS amount) + excluded.amounts[1]
          <= excluded.maximum
    RETURNING policy, rule, window_name, subject, asset
    """  # noqa: S608 # of this source's own words
).bindparams(*(bindparam(name) for name in _columns([])))
