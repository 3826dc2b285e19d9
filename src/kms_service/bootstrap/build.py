"""Builds and wires all objects of a process."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from kms_service.bootstrap.background import background
from kms_service.bootstrap.foundations import Foundations, lay_foundations
from kms_service.bootstrap.services import Services
from kms_service.bootstrap.stores import Stores, make_stores
from kms_service.bootstrap.wallets import wire_wallets
from kms_service.kms.control_plane.administration import in_each_region
from kms_service.kms.control_plane.client import ControlPlane
from kms_service.kms.control_plane.signing import KmsSigner
from kms_service.service.access.authenticate import Authenticator
from kms_service.service.access.tokens import TokenService
from kms_service.service.audit.trail import AuditTrail
from kms_service.service.audit.verify import AuditVerifier
from kms_service.service.evidence.against_cloudtrail import CloudTrailReconciler
from kms_service.service.evidence.export import EvidenceExport
from kms_service.service.evidence.monthly import MonthlyReports
from kms_service.service.overview import Overviews
from kms_service.service.policies.policies import PolicyService
from kms_service.service.pool.census import Census
from kms_service.service.pool.materials import MaterialCensus
from kms_service.service.pool.retire import KeyLifecycle
from kms_service.service.pool.state import PoolService
from kms_service.service.rewrap.chain_keys import AuditChainRewrapper
from kms_service.service.rewrap.jobs import RewrapJobs
from kms_service.service.rewrap.row_mac_keys import RowMacKeyRewrapper
from kms_service.service.rewrap.wallets import Rewrapper
from kms_service.service.rewrap.worker import RewrapWorker
from kms_service.service.switches.canaries import CanaryService
from kms_service.service.switches.seal import SealService
from kms_service.settings import Settings
from kms_service.store.audit.summary import AuditSummaryStore
from kms_service.store.pool.census import KeyCensusStore
from kms_service.store.pool.materials import KeyMaterialStore
from kms_service.store.pool.modes import PoolKeyStore
from kms_service.store.postgres.database import open_database
from kms_service.store.rewrap.work import RewrapWork
from kms_service.store.switches.canaries import CanaryStore
from kms_service.store.switches.seal import SealStore
from kms_service.telemetry.recent import History


def build(settings: Settings, clock: Callable[[], float] = time.monotonic) -> Services:
    """All objects of a process, wired; no I/O yet. What they remember ages by `clock`, monotonic seconds."""
    database = open_database(settings, connections=settings.database_connections)
    stores = make_stores(database)
    on = lay_foundations(settings, database, stores, clock)
    wallets = wire_wallets(on, stores, clock)
    census = Census(KeyCensusStore(database), on.health, on.pool)
    materials = MaterialCensus(KeyMaterialStore(database), on.kms, on.pool)
    pool = PoolService(on.pool, PoolKeyStore(database), census, materials, on.shared_state, on.audit)
    seal = SealService(SealStore(database), on.seal_in_force, on.row_macs.keyring, on.shared_state, on.audit)
    rewrap_jobs = RewrapJobs(stores.rewrap_jobs, on.kms, on.pool, on.audit, settings.aws_region)
    trail = AuditTrail(stores.audit_trail)
    verifier = AuditVerifier(stores.audit_trail, stores.audit_chain_keys, on.kms)
    authenticator = Authenticator(stores.tokens, on.row_macs.current, clock, partial(datetime.now, UTC))
    overviews = Overviews(on.pool, pool, seal, rewrap_jobs, trail, on.readiness, History(clock))
    return Services(
        settings=settings,
        database=database,
        kms=on.kms,
        pool=on.pool,
        pool_service=pool,
        shared_state=on.shared_state,
        row_macs=on.row_macs,
        keeper=wallets.keeper,
        importer=wallets.importer,
        census=census,
        audit=on.audit,
        wallets=wallets.wallets,
        signing=wallets.signing,
        audit_trail=trail,
        heads_outside=on.heads_outside,
        verifier=verifier,
        evidence_export=_evidence_export(settings, on, stores, verifier),
        cloudtrail_reconciler=CloudTrailReconciler(stores.audit_trail, verifier),
        monthly_reports=MonthlyReports(AuditSummaryStore(database), on.pool, census),
        tokens=TokenService(stores.tokens, stores.policies, on.row_macs.keyring, on.audit),
        policies=PolicyService(stores.policies, stores.policy_windows, on.row_macs.keyring, on.audit),
        dek_restorer=wallets.dek_restorer,
        wallet_verifier=wallets.verifier,
        rewrap_jobs=rewrap_jobs,
        rewrap_worker=_rewrap_worker(settings, on, stores),
        key_lifecycle=_key_lifecycle(settings, on, stores, census),
        authenticator=authenticator,
        seal=seal,
        canaries=CanaryService(CanaryStore(database), stores.wallets, on.shared_state, on.audit),
        readiness=on.readiness,
        overviews=overviews,
        background=background(settings, on, authenticator, census, materials, overviews),
    )


def _evidence_export(
    settings: Settings, on: Foundations, stores: Stores, verifier: AuditVerifier
) -> EvidenceExport:
    signing_key = settings.audit_signing_key
    signer = None if signing_key is None else KmsSigner(ControlPlane(settings), signing_key)
    return EvidenceExport(stores.audit_trail, stores.audit_chain_keys, verifier, on.audit, signer)


def _rewrap_worker(settings: Settings, on: Foundations, stores: Stores) -> RewrapWorker:
    return RewrapWorker(
        stores.rewrap_jobs,
        RewrapWork(on.database),
        Rewrapper(on.kms, settings.rotation_calls_in_flight),
        (
            AuditChainRewrapper(stores.audit_chain_keys, on.kms),
            RowMacKeyRewrapper(stores.row_mac_keys, on.kms),
        ),
        on.pool,
        on.audit,
    )


def _key_lifecycle(settings: Settings, on: Foundations, stores: Stores, census: Census) -> KeyLifecycle:
    return KeyLifecycle(
        on.pool,
        in_each_region(settings),
        census,
        stores.audit_chain_keys,
        stores.row_mac_keys,
        stores.rewrap_jobs,
        on.audit,
    )
