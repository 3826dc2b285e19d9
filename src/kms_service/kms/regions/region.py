"""KMS in one Region: its client, and a circuit so that requests do not wait for an unavailable Region."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from kms_service.errors import KmsServiceError, KmsThrottled
from kms_service.kms.calls import OK, Call
from kms_service.kms.data_plane.client import KmsClient
from kms_service.kms.data_plane.replies import Reply
from kms_service.kms.errors import KmsCallNotMade, KmsNoCredentials, KmsRegionFault, KmsTimedOut
from kms_service.kms.keys import arn
from kms_service.kms.keys.circuit import Circuit, CircuitState, Fault, Permit
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

KEY_MEMBERS = ("KeyId", "SourceKeyId", "DestinationKeyId")

log = get_logger()


class Region:
    """A Region as this process sees it. It belongs to one event loop, and owns the client.

    Its circuit learns only from calls that another Region could serve too. A refusal counts as a success: it
    shows that the Region answers.

    Args:
        client: the KMS client for this Region.
        clock: seconds that only grow.
    """

    def __init__(self, client: KmsClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._circuit = Circuit(clock)
        self.away_since: datetime | None = None
        """Since when its circuit has not been closed, UTC; None while it is closed."""
        self.trouble = ""
        """Why the last trial by `RegionWatch` failed, in a word; empty if it succeeded."""

    @property
    def name(self) -> str:
        """AWS's name for it, such as `eu-central-1`."""
        return self._client.region

    @property
    def state(self) -> CircuitState:
        """The state of its circuit."""
        return self._circuit.state

    @property
    def reason(self) -> str:
        """What opened the circuit, in a word; empty while it is closed."""
        return "" if self.state is CircuitState.CLOSED else self._circuit.reason

    @property
    def answers(self) -> bool:
        """Whether it serves calls, as far as is known."""
        return self.state is CircuitState.CLOSED and not self.trouble

    @property
    def credentials_problem(self) -> str | None:
        """Why there are no valid credentials for it, in one word; None while there are some."""
        return self._client.credentials_problem

    def permit(self) -> Permit | None:
        """Permission to make one call; None if it would only wait."""
        return self._circuit.permit()

    async def ask(self, call: Call, key: str, members: Mapping[str, object], permit: Permit | None) -> Reply:
        """Have KMS in this Region do one operation, with the Region's own replicas of the keys.

        Args:
            call: the operation; its requests are counted there.
            key: ARN or alias, for errors.
            members: the request; ARNs of multi-Region keys in it are changed to this Region's.
            permit: from `permit`; None for a call that the circuit must not learn from.

        Raises:
            As `KmsClient.ask`.
        """
        call.region = self.name
        try:
            reply = await self._client.ask(call, key, self._localise(members))
        except BaseException as error:
            self._conclude(permit, error)
            outcome = error.code if isinstance(error, KmsServiceError) else "cancelled"
            metrics.region_requests.labels(self.name, call.operation, outcome).inc()
            raise
        self._conclude(permit, None)
        metrics.region_requests.labels(self.name, call.operation, OK).inc()
        return reply

    async def close(self) -> None:
        """Close all connections, for good."""
        await self._client.close()

    def show(self) -> None:
        """Set the gauge of its circuit."""
        metrics.region_circuit_open.labels(self.name).set(self.state is not CircuitState.CLOSED)

    def _localise(self, members: Mapping[str, object]) -> dict[str, object]:
        named = {name: value for name in KEY_MEMBERS if isinstance(value := members.get(name), str)}
        return {**members, **{name: arn.in_region(value, self.name) for name, value in named.items()}}

    def _conclude(self, permit: Permit | None, error: BaseException | None) -> None:
        if permit is None:
            return
        fault = _fault(error)
        if fault is not None:
            self._circuit.record_failure(permit, fault, getattr(error, "reason", ""))
        elif error is None or (isinstance(error, KmsServiceError) and not isinstance(error, KmsCallNotMade)):
            self._circuit.record_success(permit)
        else:
            self._circuit.record_unanswered(permit)
        self._note()

    def _note(self) -> None:
        closed = self.state is CircuitState.CLOSED
        if closed and self.away_since is not None:
            log.info("region_back", region=self.name, since=self.away_since.isoformat())
            self.away_since = None
        elif not closed and self.away_since is None:
            log.warning("region_away", region=self.name, reason=self._circuit.reason)
            self.away_since = datetime.now(UTC)
        self.show()


def is_absent(error: KmsServiceError, *, when_throttled: bool) -> bool:
    """Whether another Region is worth asking: this one did not answer, or has no valid credentials.

    After a refusal none is: another Region would refuse too, or must not be used to get around it.

    Args:
        error: the error of a call to one Region.
        when_throttled: whether throttling counts; each Region has its own quota.
    """
    if isinstance(error, KmsThrottled):
        return when_throttled
    return isinstance(error, KmsTimedOut | KmsRegionFault | KmsNoCredentials)


def _fault(error: BaseException | None) -> Fault | None:
    if isinstance(error, KmsTimedOut):
        return Fault.TIMEOUT
    return Fault.ERROR if isinstance(error, KmsRegionFault) else None
