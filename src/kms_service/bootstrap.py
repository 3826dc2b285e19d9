"""The one place where objects are built and wired; nothing else makes a client, an engine or a service."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from structlog import PrintLogger

from kms_service.errors import NoKeyAtStart
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.control_plane.administration import in_each_region
from kms_service.kms.control_plane.client import ControlPlane, s3_client
from kms_service.kms.control_plane.signing import KmsSigner
from kms_service.kms.keys.health import KeyHealth
from kms_service.kms.keys.pool import KmsKeyPool
from kms_service.kms.regions.routes import connect_regions
from kms_service.kms.regions.watch import WATCH_SECONDS, RegionWatch
from kms_service.service.access.authenticate import LAST_USE_SECONDS, Authenticator
from kms_service.service.access.tokens import TokenService
from kms_service.service.audit.log import BEGIN_SECONDS, AuditLog
from kms_service.service.audit.outside import HeadKeeper
from kms_service.service.audit.trail import AuditTrail
from kms_service.service.audit.verify import AuditVerifier
from kms_service.service.background import Repeating
from kms_service.service.evidence.against_cloudtrail import CloudTrailReconciler
from kms_service.service.evidence.export import EvidenceExport
from kms_service.service.evidence.monthly import MonthlyReports
from kms_service.service.overview import READ_SECONDS, Overviews
from kms_service.service.policies.guard import PolicyGuard
from kms_service.service.policies.in_force import PoliciesInForce
from kms_service.service.policies.policies import PolicyService
from kms_service.service.pool.census import CENSUS_SECONDS, Census
from kms_service.service.pool.materials import LOOK_SECONDS, MaterialCensus
from kms_service.service.pool.retire import KeyLifecycle
from kms_service.service.pool.state import PoolService
from kms_service.service.readiness import PROBE_SECONDS, Readiness
from kms_service.service.rewrap.chain_keys import AuditChainRewrapper
from kms_service.service.rewrap.jobs import RewrapJobs
from kms_service.service.rewrap.row_mac_keys import RowMacKeyRewrapper
from kms_service.service.rewrap.wallets import Rewrapper
from kms_service.service.rewrap.worker import RewrapWorker
from kms_service.service.row_macs import ROW_MAC_SECONDS, TENDING_SECONDS, RowMacs
from kms_service.service.switches.canaries import CanaryService
from kms_service.service.switches.poll import POLL_SECONDS, SharedStatePoll
from kms_service.service.switches.seal import SealService
from kms_service.service.switches.seal_in_force import SealInForce
from kms_service.service.wallets.authenticity import AuthenticWallets
from kms_service.service.wallets.dek_history import DekRestorer
from kms_service.service.wallets.guard import ReleaseGuard, show_seal
from kms_service.service.wallets.importing import WalletImporter
from kms_service.service.wallets.keeping import WalletKeeper
from kms_service.service.wallets.opening import WalletOpener
from kms_service.service.wallets.release import Releases
from kms_service.service.wallets.signing import SigningService
from kms_service.service.wallets.verify import WalletVerifier
from kms_service.service.wallets.wallets import WalletsKmsService
from kms_service.settings import Settings
from kms_service.store.access.tokens import TokenStore
from kms_service.store.access.uses import TokenUseStore
from kms_service.store.audit.chain_keys import AuditChainKeyStore
from kms_service.store.audit.rows import AuditStore
from kms_service.store.audit.summary import AuditSummaryStore
from kms_service.store.audit.trail import AuditTrailStore
from kms_service.store.heads.place import FolderOfHeads, bucket_and_prefix, folder_of
from kms_service.store.policies.versions import PolicyStore
from kms_service.store.policies.windows import PolicyWindowStore
from kms_service.store.pool.census import KeyCensusStore
from kms_service.store.pool.materials import KeyMaterialStore
from kms_service.store.pool.modes import PoolKeyStore
from kms_service.store.postgres import schema
from kms_service.store.postgres.database import USAGE_SECONDS, Database, open_database
from kms_service.store.rewrap.jobs import RewrapJobStore
from kms_service.store.rewrap.work import RewrapWork
from kms_service.store.row_mac_keys import RowMacKeyStore
from kms_service.store.switches.canaries import CanaryStore
from kms_service.store.switches.seal import SealStore
from kms_service.store.switches.shared_state import SharedStateStore
from kms_service.store.wallets.creation import WalletCreationStore
from kms_service.store.wallets.dek_history import DekHistoryStore
from kms_service.store.wallets.find import WalletStore
from kms_service.store.wallets.imports import WalletImportStore
from kms_service.store.wallets.walk import WalletWalk
from kms_service.telemetry import metrics
from kms_service.telemetry.emf import FLUSH_SECONDS, EmbeddedMetrics
from kms_service.telemetry.logs import get_logger
from kms_service.telemetry.recent import History

HEALING_SECONDS = 1.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class Services:
    """Everything one process is made of."""

    settings: Settings
    database: Database
    kms: AwsKmsService
    pool: KmsKeyPool
    pool_service: PoolService
    shared_state: SharedStatePoll
    row_macs: RowMacs
    keeper: WalletKeeper
    importer: WalletImporter
    census: Census
    audit: AuditLog
    audit_trail: AuditTrail
    heads_outside: HeadKeeper | None
    verifier: AuditVerifier
    evidence_export: EvidenceExport
    cloudtrail_reconciler: CloudTrailReconciler
    monthly_reports: MonthlyReports
    wallets: WalletsKmsService
    signing: SigningService
    tokens: TokenService
    policies: PolicyService
    wallet_verifier: WalletVerifier
    dek_restorer: DekRestorer
    rewrap_jobs: RewrapJobs
    rewrap_worker: RewrapWorker
    key_lifecycle: KeyLifecycle
    authenticator: Authenticator
    seal: SealService
    canaries: CanaryService
    readiness: Readiness
    overviews: Overviews
    background: tuple[Repeating, ...]

    async def check(self) -> None:
        """Pass when everything is there that serving needs.

        Raises:
            SchemaBehind: a migration is missing.
            NoKeyAtStart: no key of the pool can be used; one line a key says why.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        await schema.check(self.database)
        await self.shared_state.poll()
        await self.pool.refresh()
        if len(self.pool.reasons) == len(self.pool.keys):
            lines = "".join(f"\n  {alias}: {reason}" for alias, reason in self.pool.reasons.items())
            raise NoKeyAtStart(
                f"no key of the pool can be used:{lines}\n"
                "Check AWS_REGION, the credentials and KMS_KEY_ALIAS_PREFIX; "
                "kms-service pool create-aliases makes missing keys."
            )
        for alias, reason in self.pool.reasons.items():
            log.warning("key_unusable", key=alias, reason=reason)
        await self.row_macs.try_to_load()
        await self.shared_state.poll()  # only now can an opened seal be told from a forged one
        await self.readiness.probe()

    def start(self) -> None:
        """Begin the background work, on the running loop."""
        metrics.begin(time.time())
        for work in self.background:
            work.start()
        if self.settings.rotation_worker_enabled:
            self.rewrap_worker.start()

    async def close(self) -> None:
        """Stop the background work, end the audit chains, and close all connections."""
        await self.rewrap_worker.stop()
        for work in self.background:
            await work.stop()
        await self.authenticator.note_last_use()
        await self.audit.close()
        await self.kms.close()
        await self.database.close()


def build(settings: Settings, clock: Callable[[], float] = time.monotonic) -> Services:
    """All objects of a process, wired; no I/O yet. What it remembers ages by `clock`, monotonic seconds."""
    database = open_database(settings, connections=settings.database_connections)
    health = KeyHealth(settings.calls_under_one_key, clock)
    kms = AwsKmsService(connect_regions(settings), health)
    pool = KmsKeyPool(kms, settings.aliases, health, clock)
    row_mac_key_store = RowMacKeyStore(database)
    row_macs = RowMacs(row_mac_key_store, kms, pool)
    outside = _heads_outside(settings)
    audit = AuditLog(AuditStore(database), WalletCreationStore(database), pool, outside)
    readiness = Readiness(database, pool, row_macs, audit, clock)
    trail_store = AuditTrailStore(database)
    seal_in_force = SealInForce(lambda: row_macs.ring)
    obeying = [lambda state: pool.set_draining(state.draining), readiness.show_seal, show_seal]
    shared_state = SharedStatePoll(SharedStateStore(database), seal_in_force, obeying, clock)
    census = Census(KeyCensusStore(database), health, pool)
    token_store = TokenStore(database)
    authenticator = Authenticator(token_store, row_macs.keyring, clock, partial(datetime.now, UTC))
    wallet_store = WalletStore(database)
    guard = ReleaseGuard(shared_state, TokenUseStore(database), audit)
    opener = WalletOpener(kms)
    authentic_wallets = AuthenticWallets(wallet_store, row_macs)
    keeper = WalletKeeper(authentic_wallets, pool, audit)
    policy_store = PolicyStore(database)
    policy_windows = PolicyWindowStore(database)
    policy_guard = PolicyGuard(PoliciesInForce(policy_store, row_macs.keyring, clock), policy_windows)
    releases = Releases(authentic_wallets, opener, audit, guard, policy_guard)
    rewrap_store = RewrapJobStore(database)
    chain_key_store = AuditChainKeyStore(database)
    materials = MaterialCensus(KeyMaterialStore(database), kms, pool)
    pool_service = PoolService(pool, PoolKeyStore(database), census, materials, shared_state, audit)
    seal = SealService(SealStore(database), seal_in_force, row_macs.keyring, shared_state, audit)
    rewrap_jobs = RewrapJobs(rewrap_store, kms, pool, audit, settings.aws_region)
    trail = AuditTrail(trail_store)
    verifier = AuditVerifier(trail_store, chain_key_store, kms)
    signing_key = settings.audit_signing_key
    signer = None if signing_key is None else KmsSigner(ControlPlane(settings), signing_key)
    overviews = Overviews(pool, pool_service, seal, rewrap_jobs, trail, readiness, History(clock))
    return Services(
        settings=settings,
        database=database,
        kms=kms,
        pool=pool,
        pool_service=pool_service,
        shared_state=shared_state,
        row_macs=row_macs,
        keeper=keeper,
        importer=WalletImporter(WalletImportStore(database), authentic_wallets, keeper, kms, pool, audit),
        census=census,
        audit=audit,
        wallets=WalletsKmsService(authentic_wallets, keeper, releases, audit),
        signing=SigningService(releases),
        audit_trail=trail,
        heads_outside=outside,
        verifier=verifier,
        evidence_export=EvidenceExport(trail_store, chain_key_store, verifier, audit, signer),
        cloudtrail_reconciler=CloudTrailReconciler(trail_store, verifier),
        monthly_reports=MonthlyReports(AuditSummaryStore(database), pool, census),
        tokens=TokenService(token_store, policy_store, row_macs.keyring, audit),
        policies=PolicyService(policy_store, policy_windows, row_macs.keyring, audit),
        dek_restorer=DekRestorer(DekHistoryStore(database), wallet_store, opener, audit),
        wallet_verifier=WalletVerifier(WalletWalk(database), opener, row_macs, audit),
        rewrap_jobs=rewrap_jobs,
        rewrap_worker=RewrapWorker(
            rewrap_store,
            RewrapWork(database),
            Rewrapper(kms, settings.rotation_calls_in_flight),
            (AuditChainRewrapper(chain_key_store, kms), RowMacKeyRewrapper(row_mac_key_store, kms)),
            pool,
            audit,
        ),
        key_lifecycle=KeyLifecycle(
            pool,
            in_each_region(settings),
            census,
            chain_key_store,
            row_mac_key_store,
            rewrap_store,
            audit,
        ),
        authenticator=authenticator,
        seal=seal,
        canaries=CanaryService(CanaryStore(database), wallet_store, shared_state, audit),
        readiness=readiness,
        overviews=overviews,
        background=(
            *_emf(settings),
            *_overviews(settings, overviews),
            Repeating("token last use", LAST_USE_SECONDS, authenticator.note_last_use),
            Repeating("audit chain", BEGIN_SECONDS, audit.try_to_begin),
            Repeating("audit heads", settings.audit_heads_seconds, audit.tell_heads),
            Repeating("readiness", PROBE_SECONDS, readiness.probe),
            Repeating("pool refresh", settings.pool_refresh_seconds, pool.refresh),
            Repeating("pool healing", HEALING_SECONDS, pool.heal),
            Repeating("regions", WATCH_SECONDS, RegionWatch(kms.regions, settings.aliases[0]).look),
            Repeating("row MAC keys", ROW_MAC_SECONDS, row_macs.heal),
            Repeating("row MAC key care", TENDING_SECONDS, row_macs.tend),
            Repeating("shared state", POLL_SECONDS, shared_state.poll),
            Repeating("key census", CENSUS_SECONDS, census.take),
            Repeating("material census", LOOK_SECONDS, materials.take),
            Repeating("connection gauges", USAGE_SECONDS, database.report_usage),
        ),
    )


def _heads_outside(settings: Settings) -> HeadKeeper | None:
    if (url := settings.audit_heads_url) is None:
        return None
    if (place := bucket_and_prefix(url)) is None:
        return HeadKeeper(FolderOfHeads(folder_of(url)))
    # Loads boto3, which a process that serves does without otherwise.
    from kms_service.store.heads.bucket import BucketOfHeads  # noqa: PLC0415

    return HeadKeeper(BucketOfHeads(partial(s3_client, settings), *place))


def _emf(settings: Settings) -> tuple[Repeating, ...]:
    if not settings.metrics_emf:
        return ()
    # Past the logger: no level may filter metrics out.
    flush = EmbeddedMetrics(PrintLogger().msg).flush
    return (Repeating("embedded metrics", FLUSH_SECONDS, flush, once_more=True),)


def _overviews(settings: Settings, overviews: Overviews) -> tuple[Repeating, ...]:
    # Also while nobody looks: what is shown when something is away has to be known before.
    return (Repeating("overview", READ_SECONDS, overviews.read),) if settings.console_enabled else ()
