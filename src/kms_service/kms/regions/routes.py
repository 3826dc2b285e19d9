"""Which Region a call goes to: the first one or, if that does not answer, the second, with the same key.

    ask ──▶ first Region ──answered, or refused──▶ done
                │ no answer (time-out, 5xx, no connection), or its circuit is open
                ▼
            second Region, in what is left of the same deadline

Only a multi-Region key can be in both. A call that names another key goes to that key's Region alone.
"""

from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from kms_service import context
from kms_service.errors import KmsServiceError
from kms_service.kms.calls import OK, Call
from kms_service.kms.data_plane.attempts import ATTEMPT_SECONDS
from kms_service.kms.data_plane.client import connect, connect_fallback
from kms_service.kms.data_plane.replies import Reply
from kms_service.kms.errors import KmsCallNotMade
from kms_service.kms.keys import arn
from kms_service.kms.keys.circuit import CircuitState, Permit
from kms_service.kms.regions.hedge import Hedge
from kms_service.kms.regions.region import KEY_MEMBERS, Region, is_absent
from kms_service.settings import Settings
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

BOTH_AWAY = "no Region answers"
# The time for work without a deadline.
_LONG_SECONDS = 30.0

log = get_logger()


class RegionRole(StrEnum):
    """Which Region is asked first, and which stands in for it."""

    PRIMARY = "primary"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True)
class Served:
    """A reply, and the Region that gave it."""

    region: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class RegionState:
    """A Region as this process sees it.

    Attributes:
        name: AWS's name for it.
        role: its role in this process.
        circuit: unless it is closed, calls are kept away from the Region.
        reason: what opened the circuit, or why the last trial failed; empty if all is well.
        away_since: UTC; None while the circuit is closed.
    """

    name: str
    role: RegionRole
    circuit: CircuitState
    reason: str
    away_since: datetime | None


@dataclass(frozen=True, slots=True)
class _Question:
    """A call that can be put to either Region."""

    call: Call
    key: str
    members: Mapping[str, object]

    async def put(self, region: Region, permit: Permit | None) -> Served:
        return Served(region.name, await region.ask(self.call, self.key, self.members, permit))


class Regions:
    """The Regions of one process. It belongs to one event loop, and owns both.

    Args:
        home: AWS_REGION, which is asked first.
        fallback: KMS_FALLBACK_REGION; None if it is not set.
        when_throttled: whether a call that the first Region throttles goes to the second.
        hedge: asks both if the first is slow; None if that is off.
    """

    def __init__(
        self, home: Region, fallback: Region | None, *, when_throttled: bool, hedge: Hedge | None
    ) -> None:
        self.home = home
        self.fallback = fallback
        self._when_throttled = when_throttled
        self._hedge = hedge

    @property
    def all(self) -> tuple[Region, ...]:
        """Both Regions, or the only one."""
        return (self.home,) if self.fallback is None else (self.home, self.fallback)

    @property
    def states(self) -> tuple[RegionState, ...]:
        """The state of each Region now; the one that is asked first comes first."""
        return tuple(
            RegionState(
                region.name,
                RegionRole.PRIMARY if region is self.home else RegionRole.FALLBACK,
                region.state,
                region.reason or region.trouble,
                region.away_since,
            )
            for region in self.all
        )

    @property
    def credentials_problem(self) -> str | None:
        """Why no Region has valid credentials, in one word; None while one has."""
        problems = [region.credentials_problem for region in self.all]
        return problems[0] if all(problems) else None

    async def ask(self, call: Call, key: str, members: Mapping[str, object]) -> Served:
        """Have KMS do one operation, in whichever Region answers.

        Args:
            call: the operation; its requests are counted there.
            key: ARN or alias, for errors.
            members: the request, ready for JSON; it names keys by alias, or by ARN of any Region.

        Raises:
            KmsCallNotMade: neither Region is worth asking now; or as `KmsClient.ask`.
            IntegrityFailure, KmsThrottled, KmsKeyUnusable, KmsUnavailable: as the Region that was asked last.
        """
        question = _Question(call, key, members)
        if self.fallback is None or not _is_in_both(members):
            return await question.put(self._only_region(members), None)
        permit = self.home.permit()
        if permit is None:
            return await self._ask_fallback(question, self.fallback, None)
        try:
            with _leaving_time():
                return await self._ask_home(question, self.fallback, permit)
        except KmsServiceError as error:
            if self._settles(error):
                raise
            return await self._ask_fallback(question, self.fallback, error)

    async def close(self) -> None:
        """Close all connections of all Regions, for good."""
        if self._hedge is not None:
            self._hedge.close()
        for region in self.all:
            await region.close()

    def _only_region(self, members: Mapping[str, object]) -> Region:
        named = {arn.region(key) for key in _keys(members) if not arn.is_multi_region(key)}
        return next((region for region in self.all if region.name in named), self.home)

    async def _ask_home(self, question: _Question, fallback: Region, permit: Permit) -> Served:
        asked = question.put(self.home, permit)
        if self._hedge is None or question.call.operation != "Decrypt":
            return await asked

        def ask_beside() -> Coroutine[Any, Any, Served] | None:
            second = fallback.permit()
            return None if second is None else question.put(fallback, second)

        return await self._hedge.first_of(asked, ask_beside, settles=self._settles)

    async def _ask_fallback(
        self, question: _Question, fallback: Region, error: KmsServiceError | None
    ) -> Served:
        """The second Region's answer.

        Args:
            question: what is asked.
            fallback: the second Region.
            error: how the first Region failed; None if it was not asked.
        """
        permit = fallback.permit()
        if permit is None:
            raise error or KmsCallNotMade(BOTH_AWAY, question.key)
        try:
            served = await question.put(fallback, permit)
        except KmsCallNotMade as unmade:
            raise error or unmade from None
        except KmsServiceError as failed:
            metrics.region_failovers.labels(question.call.operation, failed.code).inc()
            log.warning("fallback_failed", region=fallback.name, key=question.key, code=failed.code)
            raise
        metrics.region_failovers.labels(question.call.operation, OK).inc()
        return served

    def _settles(self, error: KmsServiceError) -> bool:
        return not is_absent(error, when_throttled=self._when_throttled)


def connect_regions(settings: Settings) -> Regions:
    """The Regions of the settings; no I/O until the first call."""
    second = connect_fallback(settings)
    return Regions(
        Region(connect(settings)),
        None if second is None else Region(second),
        when_throttled=settings.kms_fallback_when_throttled,
        hedge=Hedge() if settings.kms_hedging else None,
    )


@contextmanager
def _leaving_time() -> Iterator[None]:
    """Make calls in the block end early enough to ask another Region, if there is time for both at all."""
    left = context.time_left(_LONG_SECONDS)
    if left < 2 * ATTEMPT_SECONDS:
        yield
        return
    with context.deadline(left - ATTEMPT_SECONDS):
        yield


def _keys(members: Mapping[str, object]) -> list[str]:
    return [value for name in KEY_MEMBERS if isinstance(value := members.get(name), str)]


def _is_in_both(members: Mapping[str, object]) -> bool:
    return all(key.startswith("alias/") or arn.is_multi_region(key) for key in _keys(members))
