"""Wallets to rotate: the service makes them, workers move them, and tests hash and open them."""

import hashlib
from dataclasses import dataclass

import psycopg

from event_loop import complete
from kms_endpoint import KmsEndpoint, Received
from kms_service.bootstrap import Services
from kms_service.kms.pool import KeyMode
from kms_service.service.rewrap.jobs import RewrapRequest
from kms_service.store.rewrap.jobs import RewrapJob, RewrapStatus
from waiting import wait_until
from wiring import TESTER

PREFIX = "Empressa-wallet-key"
SOURCE = f"{PREFIX}-1"
SIZE = 24
ENDED = {
    RewrapStatus.COMPLETED,
    RewrapStatus.COMPLETED_WITH_ERRORS,
    RewrapStatus.CANCELLED,
    RewrapStatus.FAILED,
}


@dataclass
class Fleet:
    """A service with some wallets, all under the pool's first key."""

    services: Services
    kms: KmsEndpoint
    database_url: str
    addresses: dict[str, str]

    @property
    def source(self) -> str:
        """The ARN of the key that the wallets are under."""
        return self.kms.key(f"alias/{SOURCE}").arn

    def grow(self, names: list[str]) -> None:
        """Make wallets under the source key."""
        others = [key.alias for key in self.services.pool.keys if key.name != SOURCE]
        self.services.pool.set_draining(frozenset(others))
        for name in names:
            self.addresses[name] = complete(self.services.wallets.create_wallet(TESTER, name)).wallet_address
        complete(self.services.shared_state.poll())

    def start(self, **changes: object) -> RewrapJob:
        """Start a rotation away from the source key."""
        asked: dict[str, object] = {
            "sources": [SOURCE],
            "wrapped_before": None,
            "destinations": None,
            "dry_run": False,
            "rate_per_second": 10_000.0,
        }
        return complete(self.services.rewrap_jobs.start(TESTER, RewrapRequest(**(asked | changes))))  # type: ignore[arg-type]

    def job(self, rotation: RewrapJob) -> RewrapJob:
        """The job as it is now."""
        return complete(self.services.rewrap_jobs.find(rotation.rotation_id))

    def wait_for_end(self, rotation: RewrapJob, within: float = 120) -> RewrapJob:
        """Wait until the job has ended, and return it."""
        wait_until(lambda: self.job(rotation).status in ENDED, within)
        return self.job(rotation)

    def moves(self) -> list[Received]:
        """The ReEncrypt calls for wallets, without those for the keys of audit chains."""
        asked = self.kms.find_requests("ReEncrypt")
        return [each for each in asked if each.context["purpose"] == "wallet-dek"]

    def drain_source(self) -> None:
        """Keep new wallets away from the source key."""
        complete(self.services.pool_service.set_mode(TESTER, SOURCE, KeyMode.DRAINING))

    def by_key(self) -> dict[str, int]:
        """Wallets under each key ARN."""
        return dict(self.query("SELECT kms_key_id, count(*) FROM wallets GROUP BY 1"))

    def seeds(self) -> str:
        """SHA-256 over every user id and encrypted seed."""
        digest = hashlib.sha256()
        for user_id, seed in self.query("SELECT user_id, encrypted_seed FROM wallets ORDER BY user_id"):
            digest.update(user_id.encode() + bytes(seed))
        return digest.hexdigest()

    def all_open(self) -> None:
        """Check that every wallet opens to the address it was made with."""
        for name, address in self.addresses.items():
            assert (
                complete(self.services.wallets.get_private_key_for_user(TESTER, name)).wallet_address
                == address
            )

    def query(self, statement: str, *parameters: object) -> list[tuple]:  # type: ignore[type-arg]
        """Rows, read without the service."""
        with psycopg.connect(self.database_url) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
