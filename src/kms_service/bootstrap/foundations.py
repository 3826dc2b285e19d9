"""Builds what every service needs: KMS and its pool, the audit log, row MACs, and the operators' switches."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kms_service.bootstrap.stores import Stores
from kms_service.kms.aws import AwsKmsService
from kms_service.kms.control_plane.client import s3_client
from kms_service.kms.keys.health import KeyHealth
from kms_service.kms.pool import KmsKeyPool
from kms_service.kms.regions.routes import connect_regions
from kms_service.service.audit.log import AuditLog
from kms_service.service.audit.outside import HeadKeeper
from kms_service.service.readiness import Readiness
from kms_service.service.row_macs import RowMacs
from kms_service.service.switches.poll import SharedStatePoll
from kms_service.service.switches.seal_in_force import SealInForce
from kms_service.service.wallets.guard import show_seal
from kms_service.settings import Settings
from kms_service.store.audit.rows import AuditStore
from kms_service.store.heads.place import FolderOfHeads, bucket_and_prefix, folder_of
from kms_service.store.postgres.database import Database
from kms_service.store.switches.shared_state import SharedStateStore


@dataclass(frozen=True, slots=True)
class Foundations:
    """The objects of which every process has exactly one, whatever it does."""

    database: Database
    health: KeyHealth
    kms: AwsKmsService
    pool: KmsKeyPool
    row_macs: RowMacs
    heads_outside: HeadKeeper | None
    audit: AuditLog
    readiness: Readiness
    seal_in_force: SealInForce
    shared_state: SharedStatePoll


def lay_foundations(
    settings: Settings, database: Database, stores: Stores, clock: Callable[[], float]
) -> Foundations:
    """All of them, wired; no I/O yet. What they remember ages by `clock`, monotonic seconds."""
    health = KeyHealth(settings.calls_under_one_key, clock)
    kms = AwsKmsService(connect_regions(settings), health)
    pool = KmsKeyPool(kms, settings.aliases, health, clock)
    row_macs = RowMacs(stores.row_mac_keys, kms, pool)
    outside = _heads_outside(settings)
    audit = AuditLog(AuditStore(database), pool, outside)
    readiness = Readiness(database, pool, row_macs, audit, clock)
    seal_in_force = SealInForce(row_macs.current)
    obeying = [lambda state: pool.set_draining(state.draining), readiness.show_seal, show_seal]
    return Foundations(
        database=database,
        health=health,
        kms=kms,
        pool=pool,
        row_macs=row_macs,
        heads_outside=outside,
        audit=audit,
        readiness=readiness,
        seal_in_force=seal_in_force,
        shared_state=SharedStatePoll(SharedStateStore(database), seal_in_force, obeying, clock),
    )


def _heads_outside(settings: Settings) -> HeadKeeper | None:
    if (url := settings.audit_heads_url) is None:
        return None
    if (place := bucket_and_prefix(url)) is None:
        return HeadKeeper(FolderOfHeads(folder_of(url)))
    # This loads boto3, which a serving process otherwise does without.
    from kms_service.store.heads.bucket import BucketOfHeads  # noqa: PLC0415

    return HeadKeeper(BucketOfHeads(partial(s3_client, settings), *place))
