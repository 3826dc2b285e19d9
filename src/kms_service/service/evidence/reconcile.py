"""Checks that our audit log explains every use of our KMS keys in CloudTrail, and the other way round.

CloudTrail is AWS's record, out of reach of the service's own role: whoever steals that role and decrypts
without the service leaves a record there and no row here. A call is explained by one of these:

 1. A row that names its request id, is about the same wallet and key, and is of the right kind.
 2. A row that lists the requests of a run that releases nothing (such as `wallets.verify`).
 3. Its purpose, if it opens no wallet: keys of audit chains and row MACs, an Encrypt, or a ReEncrypt that
    keeps the context and stays among our keys.
 4. KMS refused it, or it was a dry run: nothing was done.
 5. It was sent again: within seconds, a later request of the same client for the same wallet has a row; or
    its request to another Region with the same multi-Region key has.

Anything else is a finding.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase

from kms_service.service.evidence.ledger import Ledger, LedgerCall, RecordedRequest, key_name

ATTEMPTS = 3
RETRY_SECONDS = 30.0
# How long after the first Region the second may be asked the same: no attempt takes longer.
BESIDE_SECONDS = 5.0
FINDINGS_KEPT = 1000
_OPENING = "Decrypt"
_WALLET = "wallet-dek"
_PURPOSES = frozenset({"audit-chain", "row-mac", "wallet-import", _WALLET})
# Operations that use a key, and those that let somebody else use it.
_USES = frozenset(
    {
        "Decrypt",
        "Encrypt",
        "ReEncrypt",
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
    }
)
_GRANTS = frozenset({"CreateGrant", "PutKeyPolicy", "ReplicateKey"})
_LOOKED_AT = _USES | _GRANTS
_MADE_BY_ENCRYPT = frozenset({"wallet.create", "wallet.import", "wallet.adopt", "audit.open"})


class Explained(StrEnum):
    """What explains a call."""

    ROW = "audit rows"
    LISTED = "rows of runs that release nothing"
    PURPOSE = "purposes that open no wallet"
    NOT_DONE = "refusals and dry runs"
    SENT_AGAIN = "requests sent again"


class Trouble(StrEnum):
    """What is wrong with a call or a row."""

    UNEXPLAINED = "decrypt without a row"
    STRANGER = "not the service"
    DISAGREES = "row disagrees"
    MOVED_AWAY = "moved away"
    NEVER_DONE = "never done by the service"
    NOT_IN_CLOUDTRAIL = "not in CloudTrail"
    TOLD_TWICE = "told twice"


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A call, a row, or both, that nothing explains.

    Attributes:
        says: one sentence for people.
    """

    trouble: Trouble
    says: str
    call: LedgerCall | None = None
    row: RecordedRequest | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """What is compared: calls and rows from `since` on, calls before `until`, rows before `rows_until`.

    Newer rows are left out, since CloudTrail may not have delivered their calls yet.
    """

    since: datetime
    until: datetime
    rows_until: datetime


@dataclass(slots=True)
class Reconciliation:
    """The result of a reconciliation.

    Attributes:
        calls: how many calls about our keys were judged.
        explained: how many of them each kind of explanation covers.
        findings: the first thousand findings; `found` counts all.
        principals: whose calls count as the service's own.
    """

    window: Window
    principals: frozenset[str]
    calls: int = 0
    rows: int = 0
    found: int = 0
    explained: Counter[Explained] = field(default_factory=Counter)
    findings: list[Unexplained] = field(default_factory=list)

    def add(self, finding: Unexplained) -> None:
        """Count a finding, and keep it while there is room."""
        self.found += 1
        if len(self.findings) < FINDINGS_KEPT:
            self.findings.append(finding)


def reconcile(
    ledger: Ledger,
    window: Window,
    *,
    keys: Collection[str],
    principals: Collection[str],
    administrators: Collection[str],
    on_call: Callable[[], None],
) -> Reconciliation:
    """Judge every call and every row of the window.

    Args:
        ledger: holds both sides, and is indexed.
        window: what is compared.
        keys: ARNs of all KMS keys that are or were ours.
        principals: ARNs, with `*` for anything, of the roles that the service and its commands run under; if
            empty, those whose calls our rows name. If the rows name no call either, nobody counts as a
            stranger, but a Decrypt still needs its row.
        administrators: ARNs, with `*` for anything, of those who may change the keys' policies and grants.
        on_call: called after every call that was read.
    """
    own = frozenset(principals) or frozenset(ledger.service_principals())
    done = Reconciliation(window, own)
    judge = _Judge(ledger, frozenset(keys), own, frozenset(administrators))
    for call, told in ledger.pairs(window.since, window.until):
        on_call()
        if not judge.concerns(call):
            continue
        done.calls += 1
        verdict = judge.judge(call, told)
        if isinstance(verdict, Unexplained):
            done.add(verdict)
        else:
            done.explained[verdict] += 1
    for finding in _rows_alone(ledger, window):
        done.add(finding)
    return done


def _rows_alone(ledger: Ledger, window: Window) -> Iterator[Unexplained]:
    for row in ledger.rows_without_call(window.since, window.rows_until):
        if row.outcome == "ok" or row.listed:
            says = f"row {row.id} ({row.action} by {row.actor}) names a request that CloudTrail does not have"
            yield Unexplained(Trouble.NOT_IN_CLOUDTRAIL, says, row=row)
    for row in ledger.rows_of_same_request():
        says = f"row {row.id} ({row.action} by {row.actor}) names the same request as an earlier row"
        yield Unexplained(Trouble.TOLD_TWICE, says, row=row)


class _Judge:
    """Judges one call after another; remembers which answers it has used to explain lost ones."""

    def __init__(
        self, ledger: Ledger, keys: frozenset[str], own: frozenset[str], administrators: frozenset[str]
    ) -> None:
        self._ledger = ledger
        self._keys = {key_name(key) for key in keys}
        self._key_ids = {key.rpartition("/")[2] for key in keys}
        self._own = own
        self._administrators = administrators
        self._used: Counter[tuple[str, str]] = Counter()

    def concerns(self, call: LedgerCall) -> bool:
        """Whether a call uses or changes a key of ours, or has one of our purposes in its context."""
        ours = self._is_ours(call.key) or self._is_ours(call.destination) or call.purpose in _PURPOSES
        return ours and call.operation in _LOOKED_AT

    def judge(self, call: LedgerCall, told: RecordedRequest | None) -> Explained | Unexplained:
        """What explains this call, or the finding about it."""
        if call.operation in _GRANTS:
            return self._judge_grant(call)
        if self._own and not _matches(call.principal, self._own):
            refused = f" and was refused ({call.error})" if call.error else ""
            return _finding(Trouble.STRANGER, call, f"which is not one of the service's roles{refused}", told)
        if call.error is not None:
            return Explained.NOT_DONE
        if told is not None:
            return _agreement(call, told)
        return self._judge_without_row(call)

    def _judge_grant(self, call: LedgerCall) -> Explained | Unexplained:
        if call.error is not None or _matches(call.principal, self._administrators):
            return Explained.NOT_DONE if call.error is not None else Explained.PURPOSE
        return _finding(Trouble.NEVER_DONE, call, "which changes who may use the key", None)

    def _judge_without_row(self, call: LedgerCall) -> Explained | Unexplained:
        if call.operation == "ReEncrypt":
            return self._judge_move(call)
        if call.operation not in (_OPENING, "Encrypt"):
            return _finding(Trouble.NEVER_DONE, call, "which the service never does", None)
        if call.purpose not in _PURPOSES:
            return _finding(Trouble.UNEXPLAINED, call, "in a context that the service never uses", None)
        if call.operation == "Encrypt" or call.purpose != _WALLET:
            return Explained.PURPOSE
        if self._is_retry(call):
            return Explained.SENT_AGAIN
        return _finding(Trouble.UNEXPLAINED, call, "and no audit row explains it", None)

    def _judge_move(self, call: LedgerCall) -> Explained | Unexplained:
        if call.same_context and self._is_ours(call.key) and self._is_ours(call.destination):
            return Explained.PURPOSE
        where = f"to {call.destination or 'a key that CloudTrail does not name'}"
        return _finding(Trouble.MOVED_AWAY, call, f"{where}, or into another context", None)

    def _is_retry(self, call: LedgerCall) -> bool:
        # In the answer's own Region, one of the attempts was the answer itself.
        for answer, region in self._ledger.find_later_answers(call, RETRY_SECONDS, BESIDE_SECONDS):
            if self._takes(answer, call, ATTEMPTS - (region == call.region)):
                return True
        return any(
            self._takes(answer, call, ATTEMPTS)
            for answer in self._ledger.find_later_losses(call, RETRY_SECONDS)
        )

    def _takes(self, answer: str, call: LedgerCall, attempts: int) -> bool:
        """Whether this answer explains one more lost attempt in the call's Region, up to `attempts`."""
        if self._used[answer, call.region] >= attempts:
            return False
        self._used[answer, call.region] += 1
        return True

    def _is_ours(self, key: str) -> bool:
        return bool(key) and (key_name(key) in self._keys or ("/" not in key and key in self._key_ids))


def _agreement(call: LedgerCall, told: RecordedRequest) -> Explained | Unexplained:
    if told.listed:
        return Explained.LISTED
    wanted = "Encrypt" if told.action in _MADE_BY_ENCRYPT else _OPENING
    same_wallet = told.wallet_address is None or told.wallet_address == call.wallet_address
    same_key = told.kms_key_id is None or key_name(told.kms_key_id) == key_name(call.key)
    if call.operation == wanted and same_wallet and same_key:
        return Explained.ROW
    about = f"row {told.id} names {told.action} of {told.wallet_address or 'no wallet'} for that request"
    return _finding(Trouble.DISAGREES, call, about, told)


def _matches(principal: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(principal, pattern) for pattern in patterns)


def _finding(trouble: Trouble, call: LedgerCall, about: str, row: RecordedRequest | None) -> Unexplained:
    what = f"{call.operation} of {call.wallet_address}" if call.wallet_address else call.operation
    whose = f"by {call.session} from {call.source_ip or 'an unknown address'}"
    return Unexplained(trouble, f"{call.at:%Y-%m-%dT%H:%M:%SZ} {what} {whose}, {about}", call, row)
