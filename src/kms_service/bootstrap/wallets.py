"""Builds the services that make, open and use wallets; only `Releases` hands anything out."""

from collections.abc import Callable
from dataclasses import dataclass

from kms_service.bootstrap.foundations import Foundations
from kms_service.bootstrap.stores import Stores
from kms_service.service.policies.guard import PolicyGuard
from kms_service.service.policies.in_force import PoliciesInForce
from kms_service.service.wallets.authenticity import AuthenticWallets
from kms_service.service.wallets.creation import WalletKeeper
from kms_service.service.wallets.dek_history import DekRestorer
from kms_service.service.wallets.guard import ReleaseGuard
from kms_service.service.wallets.importing import WalletImporter
from kms_service.service.wallets.opening import WalletOpener
from kms_service.service.wallets.release import Releases
from kms_service.service.wallets.signing import SigningService
from kms_service.service.wallets.verify import WalletVerifier
from kms_service.service.wallets.wallets import WalletsKmsService
from kms_service.store.access.uses import TokenUseStore
from kms_service.store.wallets.dek_history import DekHistoryStore
from kms_service.store.wallets.imports import WalletImportStore
from kms_service.store.wallets.walk import WalletWalk


@dataclass(frozen=True, slots=True)
class WalletServices:
    """The services of `service.wallets`."""

    wallets: WalletsKmsService
    signing: SigningService
    keeper: WalletKeeper
    importer: WalletImporter
    verifier: WalletVerifier
    dek_restorer: DekRestorer


def wire_wallets(on: Foundations, stores: Stores, clock: Callable[[], float]) -> WalletServices:
    """All of them, wired; no I/O yet. Policies in force age by `clock`, monotonic seconds."""
    opener = WalletOpener(on.kms)
    authentic = AuthenticWallets(stores.wallets, on.row_macs)
    keeper = WalletKeeper(authentic, on.pool, on.audit)
    guard = ReleaseGuard(on.shared_state, TokenUseStore(on.database), on.audit)
    in_force = PoliciesInForce(stores.policies, on.row_macs.keyring, clock)
    policy_guard = PolicyGuard(in_force, stores.policy_windows)
    releases = Releases(authentic, opener, on.audit, guard, policy_guard)
    return WalletServices(
        wallets=WalletsKmsService(authentic, keeper, releases, on.audit),
        signing=SigningService(releases),
        keeper=keeper,
        importer=WalletImporter(WalletImportStore(on.database), authentic, keeper, on.kms, on.pool, on.audit),
        verifier=WalletVerifier(WalletWalk(on.database), opener, on.row_macs, on.audit),
        dek_restorer=DekRestorer(DekHistoryStore(on.database), stores.wallets, opener, on.audit),
    )
