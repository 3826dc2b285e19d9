"""Builds the stores that several services share, over the process's one database."""

from dataclasses import dataclass

from kms_service.store.access.tokens import TokenStore
from kms_service.store.audit.chain_keys import AuditChainKeyStore
from kms_service.store.audit.trail import AuditTrailStore
from kms_service.store.policies.versions import PolicyStore
from kms_service.store.policies.windows import PolicyWindowStore
from kms_service.store.postgres.database import Database
from kms_service.store.rewrap.jobs import RewrapJobStore
from kms_service.store.row_mac_keys import RowMacKeyStore
from kms_service.store.wallets.find import WalletStore


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores that several services share; a store that only one service needs is made with it."""

    wallets: WalletStore
    tokens: TokenStore
    policies: PolicyStore
    policy_windows: PolicyWindowStore
    audit_trail: AuditTrailStore
    audit_chain_keys: AuditChainKeyStore
    row_mac_keys: RowMacKeyStore
    rewrap_jobs: RewrapJobStore


def make_stores(database: Database) -> Stores:
    """The stores that several services share; no I/O yet."""
    return Stores(
        wallets=WalletStore(database),
        tokens=TokenStore(database),
        policies=PolicyStore(database),
        policy_windows=PolicyWindowStore(database),
        audit_trail=AuditTrailStore(database),
        audit_chain_keys=AuditChainKeyStore(database),
        row_mac_keys=RowMacKeyStore(database),
        rewrap_jobs=RewrapJobStore(database),
    )
