"""Everything that one process is made of, and how it starts and stops."""

import time
from dataclasses import dataclass

from kms_service.errors import NoKeyAtStart
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.pool import KmsKeyPool
from kms_service.service.access.authenticate import Authenticator
from kms_service.service.access.tokens import TokenService
from kms_service.service.audit.log import AuditLog
from kms_service.service.audit.outside import HeadKeeper
from kms_service.service.audit.trail import AuditTrail
from kms_service.service.audit.verify import AuditVerifier
from kms_service.service.background import Repeating
from kms_service.service.evidence.against_cloudtrail import CloudTrailReconciler
from kms_service.service.evidence.export import EvidenceExport
from kms_service.service.evidence.monthly import MonthlyReports
from kms_service.service.overview import Overviews
from kms_service.service.policies.policies import PolicyService
from kms_service.service.pool.census import Census
from kms_service.service.pool.retire import KeyLifecycle
from kms_service.service.pool.state import PoolService
from kms_service.service.readiness import Readiness
from kms_service.service.rewrap.jobs import RewrapJobs
from kms_service.service.rewrap.worker import RewrapWorker
from kms_service.service.row_macs import RowMacs
from kms_service.service.switches.canaries import CanaryService
from kms_service.service.switches.poll import SharedStatePoll
from kms_service.service.switches.seal import SealService
from kms_service.service.wallets.creation import WalletKeeper
from kms_service.service.wallets.dek_history import DekRestorer
from kms_service.service.wallets.importing import WalletImporter
from kms_service.service.wallets.signing import SigningService
from kms_service.service.wallets.verify import WalletVerifier
from kms_service.service.wallets.wallets import WalletsKmsService
from kms_service.settings import Settings
from kms_service.store.postgres import schema
from kms_service.store.postgres.database import Database
from kms_service.telemetry import metrics
from kms_service.telemetry.logs import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that one process is made of."""

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
        """Pass if everything that serving needs is there.

        Raises:
            SchemaBehind: a migration is missing.
            NoKeyAtStart: no key of the pool can be used; the message has a line for each key.
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
                "kms-service pool create-aliases creates missing keys."
            )
        for alias, reason in self.pool.reasons.items():
            log.warning("key_unusable", key=alias, reason=reason)
        await self.row_macs.try_to_load()
        await self.shared_state.poll()  # only now can the MAC of an unsealing be checked
        await self.readiness.probe()

    def start(self) -> None:
        """Start the background work, on the running loop."""
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
