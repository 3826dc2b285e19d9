"""Tries Regions without waiting for requests: one that may be back, and the fallback, which nobody needs yet.

A fallback that is first tried when it is needed may turn out to be broken. One DescribeKey a minute finds
that out before.
"""

import time
from collections.abc import Callable

from kms_service.errors import KmsServiceError
from kms_service.kms import calls
from kms_service.kms.keys.circuit import CircuitState
from kms_service.kms.regions.region import Region
from kms_service.kms.regions.routes import Regions

WATCH_SECONDS = 1.0
# How long real traffic has to try a Region after its pause.
IDLE_SECONDS = 3.0
TRIAL_SECONDS = 60.0


class RegionWatch:
    """Tries Regions by describing one key, if there is a second Region.

    Args:
        regions: those of this process.
        alias: the key to describe, the pool's first.
        clock: seconds that only grow.
    """

    def __init__(self, regions: Regions, alias: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._regions = regions
        self._alias = alias
        self._clock = clock
        self._half_open_since: dict[str, float] = {}
        self._tried_at = -TRIAL_SECONDS

    async def look(self) -> None:
        """Try the Regions that are due for a trial; run every second."""
        fallback = self._regions.fallback
        if fallback is None:
            return
        if self._clock() - self._tried_at >= TRIAL_SECONDS:
            self._tried_at = self._clock()
            await self._try(fallback)
        for region in self._regions.all:
            if self._has_been_half_open(region):
                await self._try(region)
            region.show()

    def _has_been_half_open(self, region: Region) -> bool:
        if region.state is not CircuitState.HALF_OPEN:
            self._half_open_since.pop(region.name, None)
            return False
        since = self._half_open_since.setdefault(region.name, self._clock())
        return self._clock() - since >= IDLE_SECONDS

    async def _try(self, region: Region) -> None:
        permit = region.permit()
        if permit is None:
            return
        try:
            with calls.measure("DescribeKey", self._alias, calls.ADMINISTRATION) as call:
                await region.ask(call, self._alias, {"KeyId": self._alias}, permit)
        except KmsServiceError as error:
            region.trouble = getattr(error, "reason", error.code)
        else:
            region.trouble = ""
