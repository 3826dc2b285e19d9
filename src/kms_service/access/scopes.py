"""The scopes a token can hold, and the caller that holds them. No scope implies another."""

from dataclasses import dataclass
from enum import StrEnum

from kms_service.errors import NotAuthorized


class Scope(StrEnum):
    """What a token may be allowed to do; an `admin` scope does not include the reads."""

    WALLETS_CREATE = "wallets:create"
    WALLETS_READ = "wallets:read"
    WALLETS_IMPORT = "wallets:import"
    WALLETS_SIGN = "wallets:sign"
    WALLETS_DELEGATE = "wallets:delegate"
    PRIVATE_KEYS_READ = "private-keys:read"
    PRIVATE_KEYS_EXPORT = "private-keys:export"
    POOL_READ = "pool:read"
    POOL_ADMIN = "pool:admin"
    ROTATIONS_READ = "rotations:read"
    ROTATIONS_ADMIN = "rotations:admin"
    AUDIT_READ = "audit:read"


# What these allow changes nothing and releases nothing.
LOOKING = frozenset({Scope.WALLETS_READ, Scope.POOL_READ, Scope.ROTATIONS_READ, Scope.AUDIT_READ})


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds a valid token: its name, scopes, limits (None: no limit) and policy (None: no bounds)."""

    name: str
    scopes: frozenset[str]
    private_key_reads_per_minute: int | None
    signatures_per_minute: int | None
    policy: str | None

    @classmethod
    def without_bounds(cls, name: str) -> "Caller":
        """An operator with a shell, or the service itself: what binds them is their login and their role."""
        return cls(name, frozenset(), None, None, None)

    @property
    def only_looks(self) -> bool:
        """Whether the token can neither change nor release anything."""
        return self.scopes <= LOOKING

    def require(self, scope: Scope) -> None:
        """Pass, or raise.

        Raises:
            NotAuthorized: the token lacks exactly this scope.
        """
        if scope not in self.scopes:
            raise NotAuthorized(scope)
