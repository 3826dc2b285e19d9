"""Checks everything that makes a pool usable, one by one, with advice for each fault."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import urlsplit

from kms_service.errors import DatabaseUnavailable, SchemaBehind
from kms_service.kms.control_plane import key_policy
from kms_service.kms.control_plane.administration import AdministrationFailed
from kms_service.kms.control_plane.identity import Identity
from kms_service.kms.control_plane.inspection import Action, Inspection, Verdict
from kms_service.kms.data_plane.surroundings import Unreachable, proxy_for
from kms_service.kms.keys.info import DescribedKey, KeyStatus, KmsKeyInfo, UnknownKey
from kms_service.kms.pool import KmsKeyPool
from kms_service.service.access.records import is_valid
from kms_service.settings import Settings
from kms_service.store.access.tokens import TokenStore
from kms_service.store.postgres import schema
from kms_service.store.postgres.database import Database

# AWS refuses signatures that are five minutes off. Times in the audit log would be wrong long before.
MOST_SKEW_SECONDS = 30.0


class CheckResult(StrEnum):
    """How a check ended."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what it was about, what it found and, if that is bad, what to do."""

    name: str
    result: CheckResult
    detail: str
    advice: str = ""


class Duty(StrEnum):
    """What the checked credentials are for; this decides what they must and must not be allowed to do."""

    CREATE = "create"
    REVEAL = "reveal"
    ROTATE = "rotate"
    OPERATE = "operate"


# The actions that each duty needs.
NEEDS = {
    Duty.CREATE: (Action.ENCRYPT, Action.DECRYPT_ROW_MAC),
    Duty.REVEAL: (Action.DECRYPT, Action.DECRYPT_ROW_MAC),
    Duty.ROTATE: (Action.RE_ENCRYPT,),
    Duty.OPERATE: (Action.DECRYPT_ROW_MAC,),
}
_ALL = tuple(dict.fromkeys(action for needs in NEEDS.values() for action in needs))
_MOST_NAMED = 3
_UNKNOWN_ADVICE = "KMS did not answer the dry run; see its error."
_NEVER = (Action.ENCRYPT_WITHOUT_PURPOSE, Action.GENERATE_DATA_KEY, Action.CREATE_GRANT)


class Doctor:
    """Checks everything in turn. No check raises; one that cannot be made is bad or skipped."""

    def __init__(
        self,
        settings: Settings,
        identify: Callable[[], Awaitable[Identity]],
        inspection: Inspection,
        pool: KmsKeyPool,
        database: Database,
        duties: Sequence[Duty],
        adopted_from: Sequence[str],
    ) -> None:
        self._settings = settings
        self._identify = identify
        self._inspection = inspection
        self._pool = pool
        self._database = database
        self._adopted_from = adopted_from
        needed = [action for duty in duties for action in NEEDS[duty]]
        # Every duty writes audit rows.
        self._needed = [*dict.fromkeys(needed), Action.ENCRYPT_AUDIT_CHAIN]

    async def examine(self) -> AsyncIterator[Check]:
        """Every check, as soon as it is made."""
        yield await self._credentials()
        yield self._proxy()
        endpoint = await self._endpoint()
        for check in endpoint:
            yield check
        if endpoint[0].result is CheckResult.GOOD:
            await self._pool.refresh()
            for key in self._pool.keys:
                yield self._key(key)
            async for check in self._permissions():
                yield check
            yield await self._other_policies()
            for key_arn in self._adopted_from:
                yield await self._adoption_is_over(key_arn)
        database = await self._database_answers()
        yield database
        if database.result is CheckResult.GOOD:
            yield await self._tokens_have_macs()

    async def _credentials(self) -> Check:
        name = "credentials"
        if self._settings.uses_kms_stand_in and self._settings.aws_endpoint_url_sts is None:
            return Check(name, CheckResult.SKIPPED, "the KMS endpoint is a stand-in, which STS does not know")
        try:
            identity = await self._identify()
        except AdministrationFailed as error:
            return Check(
                name,
                CheckResult.BAD,
                error.reason,
                "Give the process a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            )
        return Check(name, CheckResult.GOOD, f"{identity.arn}, account {identity.account}")

    def _proxy(self) -> Check:
        name = "proxy"
        url = self._settings.aws_endpoint_url_kms or f"https://kms.{self._settings.aws_region}.amazonaws.com"
        try:
            proxy = proxy_for(url)
        except Unreachable as error:
            return Check(
                name, CheckResult.BAD, error.name, "Set HTTPS_PROXY to an http:// URL, or leave it out."
            )
        if proxy is None:
            return Check(name, CheckResult.GOOD, "none: KMS is called directly")
        # The proxy's user and password must not be shown.
        parts = urlsplit(proxy)
        where = f"{parts.hostname}:{parts.port or 80}"
        return Check(name, CheckResult.GOOD, f"KMS is called through {where}, because of HTTPS_PROXY")

    async def _endpoint(self) -> Sequence[Check]:
        where = self._settings.aws_endpoint_url_kms or f"AWS KMS in {self._settings.aws_region}"
        try:
            reply = await self._inspection.reach(self._settings.aliases[0])
        except AdministrationFailed as error:
            advice = "Check AWS_REGION, AWS_ENDPOINT_URL_KMS, DNS, and the security group of a VPC endpoint."
            return [Check("endpoint", CheckResult.BAD, f"{where}: {error.reason}", advice)]
        answered = f"{where} answered in {reply.seconds * 1000:.0f} ms"
        return [Check("endpoint", CheckResult.GOOD, answered), _clock("clock against KMS", reply.at)]

    def _key(self, key: KmsKeyInfo) -> Check:
        detail = f"{key.status}, {_rotation(key)}"
        if key.status is not KeyStatus.ACTIVE:
            return Check(key.name, CheckResult.BAD, f"{key.status}: {key.reason}", _advice(key))
        if key.rotation is None:
            return Check(
                key.name, CheckResult.BAD, detail, "Allow kms:GetKeyRotationStatus to see whether it rotates."
            )
        if key.rotation.off:
            return Check(
                key.name, CheckResult.BAD, detail, f"aws kms enable-key-rotation --key-id {key.key_arn}"
            )
        return Check(key.name, CheckResult.GOOD, f"{detail}, {key.key_arn}")

    async def _permissions(self) -> AsyncIterator[Check]:
        keys = [key for key in self._pool.described if key.usable]
        for action in self._needed:
            yield await self._permission(action, keys, wanted=Verdict.ALLOWED)
        if self._settings.uses_kms_stand_in:
            yield Check("nothing more", CheckResult.SKIPPED, "the stand-in enforces no policies")
            return
        for action in [*(each for each in _ALL if each not in self._needed), *_NEVER]:
            yield await self._permission(action, keys, wanted=Verdict.DENIED)

    async def _other_policies(self) -> Check:
        name, found = "other policies", []
        for key in self._pool.described:
            try:
                policies = await self._inspection.policies(key.key_arn)
            except AdministrationFailed as error:
                return Check(name, CheckResult.SKIPPED, f"key policies cannot be read: {error.reason}")
            found += [
                f"{key.name}: {policy} admits {', '.join(key_policy.let_in(document)) or 'nobody'}"
                for policy, document in policies.items()
                if policy != "default"
            ]
        if not found:
            return Check(name, CheckResult.GOOD, "every key has only its own policy")
        advice = "Remove the key's share in AWS RAM, unless it is meant to be used from there."
        return Check(name, CheckResult.BAD, "; ".join(found), advice)

    async def _adoption_is_over(self, key_arn: str) -> Check:
        name = "adoption is over"
        verdict, reason = await self._inspection.asks(Action.DECRYPT_WITHOUT_CONTEXT, key_arn)
        if verdict is Verdict.DENIED:
            return Check(name, CheckResult.GOOD, f"this role can no longer unwrap under {key_arn}")
        if verdict is Verdict.UNKNOWN:
            return Check(name, CheckResult.BAD, f"{key_arn}: {reason}", _UNKNOWN_ADVICE)
        advice = "Detach the policy of deploy/iam/adoption.json from this role."
        return Check(name, CheckResult.BAD, f"this role can still unwrap under {key_arn}", advice)

    async def _permission(self, action: Action, keys: Sequence[DescribedKey], *, wanted: Verdict) -> Check:
        name = f"may {action}" if wanted is Verdict.ALLOWED else f"may not {action}"
        found: dict[tuple[Verdict, str], list[str]] = {}
        for key in keys:
            found.setdefault(await self._inspection.asks(action, key.key_arn), []).append(key.name)
        wrong = {said: names for said, names in found.items() if said[0] is not wanted}
        if not wrong:
            return Check(name, CheckResult.GOOD, f"{wanted} by all {len(keys)} usable keys")
        detail = "; ".join(
            f"{verdict}{reason and ': ' + reason} by {_abbreviate(names)}"
            for (verdict, reason), names in wrong.items()
        )
        unknown = any(verdict is Verdict.UNKNOWN for verdict, _ in wrong)
        return Check(
            name, CheckResult.BAD, detail, _UNKNOWN_ADVICE if unknown else _policy_advice(action, wanted)
        )

    async def _database_answers(self) -> Check:
        name = "database"
        try:
            await schema.check(self._database)
            now = await self._database.now()
        except DatabaseUnavailable as error:
            return Check(
                name,
                CheckResult.BAD,
                error.reason or "does not answer",
                "Check DATABASE_URL and that PostgreSQL accepts connections.",
            )
        except SchemaBehind as error:
            return Check(name, CheckResult.BAD, str(error), "kms-service migrate")
        clock = _clock(name, now)
        if clock.result is CheckResult.BAD:
            return clock
        return Check(name, CheckResult.GOOD, f"answers, schema up to date, {clock.detail}")

    async def _tokens_have_macs(self) -> Check:
        name = "tokens"
        try:
            unproven = await TokenStore(self._database).unproven()
        except DatabaseUnavailable:
            return Check(name, CheckResult.SKIPPED, "this login may not read them")
        waiting = [each.found.row.name for each in unproven if is_valid(each.found.row, each.found.now)]
        if not waiting:
            return Check(name, CheckResult.GOOD, "every valid token has a MAC")
        detail = f"refused, because they have no MAC: {', '.join(waiting)}"
        return Check(name, CheckResult.BAD, detail, "kms-service token confirm")


def _clock(name: str, at: datetime | None) -> Check:
    if at is None:
        return Check(name, CheckResult.SKIPPED, "the endpoint does not send the time")
    skew = abs((datetime.now(UTC) - at).total_seconds())
    # An HTTP date has whole seconds, so a smaller difference cannot be seen.
    detail = f"clocks agree within {max(1, round(skew))} s"
    if skew > MOST_SKEW_SECONDS:
        return Check(
            name,
            CheckResult.BAD,
            f"this machine's clock is {skew:.0f} s off",
            "Synchronise it, for example with chrony.",
        )
    return Check(name, CheckResult.GOOD, detail)


def _rotation(key: KmsKeyInfo) -> str:
    if key.rotation is None:
        return "rotation not known"
    if not key.rotation.supported:
        return "no automatic rotation (imported material or a custom key store)"
    if not key.rotation.enabled:
        return "automatic rotation off"
    return f"rotates every {key.rotation.period_in_days} days" if key.rotation.period_in_days else "rotates"


def _advice(key: KmsKeyInfo) -> str:
    if isinstance(key, UnknownKey) and key.missing:
        return "No such alias in this account and Region: kms-service pool create-aliases creates it."
    if key.status is KeyStatus.DISABLED:
        return f"aws kms enable-key --key-id {key.key_arn}"
    if key.status is KeyStatus.PENDING_DELETION:
        return f"At once: aws kms cancel-key-deletion --key-id {key.key_arn}, then enable-key."
    if key.denied:
        return "Allow kms:DescribeKey in the key policy, or use the credentials it names."
    return "See the key in the AWS console."


def _abbreviate(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _MOST_NAMED else f"{len(names)} keys, such as {names[0]}"


def _policy_advice(action: Action, wanted: Verdict) -> str:
    if wanted is Verdict.ALLOWED:
        return f"Name this role in the key policy for {action}; pool create-aliases --show-policy prints one."
    return f"The key policy gives this role more than it needs: remove {action}."
