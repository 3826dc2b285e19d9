"""What every release must pass: the audit log, the seal and the caller's limit; and the canaries' alarm."""

from kms_service.access.limits import WORDS, LimitedUse, limit_of
from kms_service.access.scopes import Caller
from kms_service.errors import RateLimited, Sealed
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.switches.poll import SharedState, SharedStatePoll
from kms_service.store.access.uses import TokenUseStore
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

# The poll runs every second, so this costs no statement while it does.
TRUSTED_SECONDS = 1.5
CANARY_OPENED = "canary.opened"

log = get_logger()


class ReleaseGuard:
    """Asked before KMS is, and once more before anything leaves.

    It never trusts a state of the seal that is older than a second and a half, but asks the database again.
    So nothing is released while the database does not answer.
    """

    def __init__(self, shared_state: SharedStatePoll, uses: TokenUseStore, audit: AuditLog) -> None:
        self._shared_state = shared_state
        self._uses = uses
        self._audit = audit

    async def admit(self, caller: Caller, use: LimitedUse) -> None:
        """Pass if this use may be tried now; count it if the caller's token has a limit.

        Raises:
            Sealed: an operator stopped all releases.
            RateLimited: the token's limit is used up; nothing was counted.
            DatabaseUnavailable: the seal or the limit cannot be read.
            AuditUnavailable: nothing can be put on record, as on a standby, so KMS must not be asked.
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
        """Pass unless the service is sealed, as known at most a second and a half ago.

        Raises:
            Sealed: an operator stopped all releases.
            DatabaseUnavailable: the seal cannot be read.
        """
        if (await self._shared_state.recent(TRUSTED_SECONDS)).sealed:
            raise Sealed

    async def report_canary(self, caller: Caller, released: Event) -> None:
        """Raise the alarm if this release is of a canary's wallet; the caller notices nothing.

        Raises:
            AuditUnavailable: the alarm could not be put on record, so nothing leaves.
            DatabaseUnavailable: who is a canary cannot be read, so nothing leaves.
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
    """Set the gauge that says whether the service is sealed."""
    metrics.sealed.set(state.sealed)
