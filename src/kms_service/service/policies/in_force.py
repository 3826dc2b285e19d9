"""Which version of a policy is in force: the newest, with a right MAC, none older than one seen before."""

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

# Within so many seconds a new version acts in every process.
REMEMBERED_SECONDS = 2.0
# A version is on record before it is in its table, for so long at most.
SETTING_SECONDS = 10.0

Keyring = Callable[[], Awaitable[RowMacKeyring]]

log = get_logger()


class PoliciesInForce:
    """Reads policies for the rules to be judged by, and remembers each for two seconds.

    The database's word alone says nothing: every version carries a MAC under a key that only KMS unwraps. An
    older version, whose MAC is right too, does not come back when newer rows are deleted: a process never
    goes back behind a version that it has seen, and asks the audit log before it takes its first.
    """

    def __init__(self, store: PolicyStore, keyring: Keyring, clock: Callable[[], float]) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._remembered: dict[str, tuple[Policy, float]] = {}

    async def newest(self, name: str) -> Policy:
        """The policy as of at most two seconds ago.

        Raises:
            PolicyIntegrityFailure: there is none, or its row is not one that an operator wrote last.
            DatabaseUnavailable: it cannot be read, so it allows nothing.
            KmsThrottled, KmsUnavailable, KmsKeyUnusable: the key of the MACs cannot be unwrapped.
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
        # 1. Whoever wrote the row holds the key.
        verify(row, await self._keyring())
        # 2. No newer version was taken away.
        if seen is None:
            await self._check_record(row)
        elif row.version < seen.version:
            raise PolicyIntegrityFailure("policy rolled back")
        elif row.version == seen.version:
            return seen
        # 3. Only now is it read; in a thread, since a long list of addresses takes its time.
        return await asyncio.to_thread(policy_of, row)

    async def _check_record(self, row: PolicyRow) -> None:
        recorded = await self._store.last_recorded(row.name)
        if recorded is None:
            return
        if recorded_version(recorded.detail) > row.version and recorded.seconds_ago > SETTING_SECONDS:
            raise PolicyIntegrityFailure("policy rolled back")


def verify(row: PolicyRow, keyring: RowMacKeyring) -> None:
    """Pass when the row is as an operator wrote it.

    Raises:
        PolicyIntegrityFailure: it is not.
    """
    mac = RowMac(row.mac_key_id, row.mac)
    try:
        keyring.verify(RowLabel.POLICY, fields(row.name, row.version, row.document), mac)
    except IntegrityFailure as failure:
        raise PolicyIntegrityFailure(failure.reason) from None


def policy_of(row: PolicyRow) -> Policy:
    """The policy that a row with a right MAC holds.

    Raises:
        PolicyIntegrityFailure: the document is none that this version of the service reads.
    """
    try:
        return Policy(row.name, row.version, parse(row.document.encode()))
    except InvalidPolicy:
        raise PolicyIntegrityFailure("policy document") from None
