"""What stands before every release: the seal, the caller's limit, and the canaries."""

from kms_service.access.limits import WORDS, LimitedUse, limit_of
from kms_service.access.scopes import Caller
from kms_service.errors import RateLimited, Sealed
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.switches.poll import SharedState, SharedStatePoll
from kms_service.store.access.uses import TokenUseStore
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

# With the poll every second this costs no statement; without it, the database is asked.
TRUSTED_SECONDS = 1.5
CANARY_OPENED = "canary.opened"

log = get_logger()


class ReleaseGuard:
    """Asked before KMS is, and once more before anything leaves.

    What it knows of the seal is never older than a second and a half: it asks rather than trusts more, so a
    database that does not answer releases nothing.
    """

    def __init__(self, shared_state: SharedStatePoll, uses: TokenUseStore, audit: AuditLog) -> None:
        self._shared_state = shared_state
        self._uses = uses
        self._audit = audit

    async def admit(self, caller: Caller, use: LimitedUse) -> None:
        """Pass, and count one use of the caller's token if it has a limit.

        Raises:
            Sealed: an operator stopped all releases.
            RateLimited: the token's limit is used up; nothing was counted.
            DatabaseUnavailable: neither can be told.
            AuditUnavailable: nothing can be put on record, as on a standby; KMS is not to be asked then.
        """
        await self._audit.check()
        await self.check_seal()
        limit = limit_of(caller, use)
        if limit is None:
            return
        wait = await self._uses.take(caller.name, use, limit)
        if wait is not None:
            metrics.rate_limited.labels(use, metrics.caller_label(caller.name)).inc()
            raise RateLimited(f"{limit} {WORDS[use]}", wait)

    async def check_seal(self) -> None:
        """Pass unless the service is sealed, as of a moment ago.

        Raises:
            Sealed: an operator stopped all releases.
            DatabaseUnavailable: it cannot be told.
        """
        if (await self._shared_state.recent(TRUSTED_SECONDS)).sealed:
            raise Sealed

    async def report_canary(self, caller: Caller, released: Event) -> None:
        """Raise the alarm when what was just released belongs to a canary; the caller notices nothing.

        Raises:
            AuditUnavailable: the alarm could not be put on record, so nothing leaves.
        """
        if released.user_id not in (await self._shared_state.recent(TRUSTED_SECONDS)).canaries:
            return
        metrics.canary_opened.labels(released.action, metrics.caller_label(caller.name)).inc()
        log.error("canary_opened", actor=caller.name, action=released.action, userId=released.user_id)
        await self._audit.record(
            caller,
            Event(
                CANARY_OPENED,
                user_id=released.user_id,
                wallet_address=released.wallet_address,
                kms_key_id=released.kms_key_id,
                kms_request_id=released.kms_request_id,
                detail=f"{released.action} by {caller.name}",
            ),
        )


def show_seal(state: SharedState) -> None:
    """Tell the metrics whether the service is sealed."""
    metrics.sealed.set(state.sealed)
