"""Sets, shows and lists policies for operators; each version is on record before it takes effect."""

from collections.abc import Sequence
from dataclasses import dataclass

from kms_service.access import tokens
from kms_service.access.scopes import Caller
from kms_service.crypto.row_mac import RowLabel, RowMacKeyring
from kms_service.errors import InvalidRequest, PolicyIntegrityFailure, PolicyNotFound, PolicySetElsewhere
from kms_service.service.audit.log import AuditLog, Event
from kms_service.service.policies.in_force import Keyring, verify
from kms_service.service.policies.language.document import parse
from kms_service.service.policies.records import fields, record, recorded_version
from kms_service.store.policies.versions import POLICY_SET, PolicyRow, PolicyStore
from kms_service.store.policies.windows import PolicyWindowStore, WindowUse

MAX_HISTORY = 1000


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """A version of a policy, and whether this call made it; setting the same document again makes none."""

    row: PolicyRow
    created: bool


class PolicyService:
    """Sets and shows policies; it shows only rows whose MAC holds.

    Every method raises DatabaseUnavailable when PostgreSQL does not answer. Those that show a row raise
    PolicyIntegrityFailure if no operator wrote it, and all but `usage` the KMS errors of unwrapping the keys
    of row MACs.
    """

    def __init__(
        self, store: PolicyStore, windows: PolicyWindowStore, keyring: Keyring, audit: AuditLog
    ) -> None:
        self._store = store
        self._windows = windows
        self._keyring = keyring
        self._audit = audit

    async def set(self, caller: Caller, name: str, document: bytes) -> SetPolicy:
        """Store a document as the newest version of a policy; it takes effect everywhere within two seconds.

        Raises:
            InvalidRequest: the name is not allowed.
            InvalidPolicy: the document is not a policy.
            PolicySetElsewhere: somebody else set a version at the same moment.
            AuditUnavailable: the version could not be put on record, so it was not stored.
        """
        if not tokens.is_name(name):
            raise InvalidRequest("a policy's name has 1 to 64 characters of A-Z a-z 0-9 . _ -", "name")
        parse(document)
        text = document.decode()
        keyring = await self._keyring()
        newest = await self._store.newest(name)
        if newest is not None and newest.document == text and _is_right(newest, keyring):
            return SetPolicy(newest, created=False)
        version = await self._next_version(name, newest)
        mac = keyring.make(RowLabel.POLICY, fields(name, version, text))
        # On record first: a policy may grant something, and nothing is granted without an audit row.
        await self._audit.record(caller, Event(POLICY_SET, detail=record(name, version, text)))
        row = await self._store.insert(
            name=name,
            version=version,
            document=text,
            set_by=caller.name,
            mac=mac.mac,
            mac_key_id=mac.key_id,
        )
        if row is None:
            raise PolicySetElsewhere(
                f"somebody else set a version of {name} at the same moment; look at it first"
            )
        return SetPolicy(row, created=True)

    async def _next_version(self, name: str, newest: PolicyRow | None) -> int:
        # Above the log's version too: if newer rows were deleted, other processes still know their versions.
        # Of the newest row only the version matters: one that somebody rewrote is replaced like any other.
        recorded = await self._store.last_recorded(name)
        known = 0 if recorded is None else recorded_version(recorded.detail)
        return max(known, 0 if newest is None else newest.version) + 1

    async def show(self, name: str, version: int | None) -> PolicyRow:
        """A version of a policy; the newest if `version` is None.

        Raises:
            PolicyNotFound: there is none.
        """
        row = await (self._store.newest(name) if version is None else self._store.find(name, version))
        if row is None:
            raise PolicyNotFound
        verify(row, await self._keyring())
        return row

    async def list_all(self) -> Sequence[PolicyRow]:
        """The newest version of every policy, by name."""
        return await self._verify(await self._store.newest_of_all())

    async def history(self, name: str) -> Sequence[PolicyRow]:
        """The versions of a policy, newest first, at most a thousand.

        Raises:
            PolicyNotFound: there is none.
        """
        rows = await self._store.history(name, limit=MAX_HISTORY)
        if not rows:
            raise PolicyNotFound
        return await self._verify(rows)

    async def usage(
        self, name: str, *, limit: int, after: tuple[str, str, str, str] | None
    ) -> list[WindowUse]:
        """How much of the policy's windows is used up, by rule, window, subject and asset.

        Raises:
            PolicyNotFound: there is no such policy.
        """
        if await self._store.newest(name) is None:
            raise PolicyNotFound
        return await self._windows.uses(name, limit=limit, after=after)

    async def _verify(self, rows: Sequence[PolicyRow]) -> Sequence[PolicyRow]:
        if rows:
            keyring = await self._keyring()
            for row in rows:
                verify(row, keyring)
        return rows


def _is_right(row: PolicyRow, keyring: RowMacKeyring) -> bool:
    try:
        verify(row, keyring)
    except PolicyIntegrityFailure:
        return False
    return True
