"""Finds the version of a policy in force: the newest, with a MAC that holds, never older than one seen."""

import asyncio
from collections.abc import Awaitable, Callable

from kms_service.crypto.row_mac import RowLabel, RowMac, RowMacKeyring
from kms_service.errors import IntegrityFailure, PolicyIntegrityFailure
from kms_service.service.policies.judging import Policy
from kms_service.service.policies.language.document import InvalidPolicy, parse
from kms_service.service.policies.records import fields, recorded_version
from kms_service.store.policies.versions import PolicyRow, PolicyStore
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

# Within this many seconds a new version takes effect in every process.
REMEMBERED_SECONDS = 2.0
# A version is in the audit log before it is in its table, for at most this long.
SETTING_SECONDS = 10.0

Keyring = Callable[[], Awaitable[RowMacKeyring]]

log = get_logger()


class PoliciesInForce:
    """Reads the policies in force, and remembers each for two seconds.

    The database alone is not trusted: every version carries a MAC under a key that only KMS unwraps. The MAC
    of an older version holds too, but deleting newer rows does not bring it back: a process never accepts a
    version older than one it has seen, and checks its first one against the audit log.
    """

    def __init__(self, store: PolicyStore, keyring: Keyring, clock: Callable[[], float]) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._remembered: dict[str, tuple[Policy, float]] = {}

    async def newest(self, name: str) -> Policy:
        """The policy as of at most two seconds ago.

        Raises:
            PolicyIntegrityFailure: there is none, or its row is not as an operator wrote it last.
            DatabaseUnavailable: it cannot be read, so it allows nothing.
            KmsThrottled, KmsUnavailable, KmsKeyUnusable, NoUsableKey, IntegrityFailure: the keys of row MACs
                cannot be unwrapped.
        """
        known = self._remembered.get(name)
        if known is not None and self._clock() < known[1]:
            return known[0]
        asked = self._clock()
        try:
            policy = await self._read(name, None if known is None else known[0])
        except PolicyIntegrityFailure as failure:
            metrics.policy_integrity_failures.inc()
            log.error("policy_integrity_failure", policy=name, reason=failure.reason)
            raise
        self._remembered[name] = (policy, asked + REMEMBERED_SECONDS)
        return policy

    async def _read(self, name: str, seen: Policy | None) -> Policy:
        row = await self._store.newest(name)
        if row is None:
            raise PolicyIntegrityFailure("policy missing")
        # 1. The row's writer holds the MAC key.
        verify(row, await self._keyring())
        # 2. No newer version was removed.
        if seen is None:
            await self._check_record(row)
        elif row.version < seen.version:
            raise PolicyIntegrityFailure("policy rolled back")
        elif row.version == seen.version:
            return seen
        # 3. Only now is the document parsed; in a thread, since a long list of addresses takes a while.
        return await asyncio.to_thread(policy_of, row)

    async def _check_record(self, row: PolicyRow) -> None:
        recorded = await self._store.last_recorded(row.name)
        if recorded is None:
            return
        if recorded_version(recorded.detail) > row.version and recorded.seconds_ago > SETTING_SECONDS:
            raise PolicyIntegrityFailure("policy rolled back")


def verify(row: PolicyRow, keyring: RowMacKeyring) -> None:
    """Pass if the row is as an operator wrote it.

    Raises:
        PolicyIntegrityFailure: it is not.
    """
    mac = RowMac(row.mac_key_id, row.mac)
    try:
        keyring.verify(RowLabel.POLICY, fields(row.name, row.version, row.document), mac)
    except IntegrityFailure as failure:
        raise PolicyIntegrityFailure(failure.reason) from None


def policy_of(row: PolicyRow) -> Policy:
    """The policy in a row whose MAC was checked.

    Raises:
        PolicyIntegrityFailure: this version of the service cannot read the document.
    """
    try:
        return Policy(row.name, row.version, parse(row.document.encode()))
    except InvalidPolicy:
        raise PolicyIntegrityFailure("policy document") from None
