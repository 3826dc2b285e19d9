"""The scopes that a token can hold, and the caller who holds them. No scope implies another."""

from dataclasses import dataclass
from enum import StrEnum

from kms_service.errors import NotAuthorized


class Scope(StrEnum):
    """What a token may be allowed to do; an `admin` scope does not include reading."""

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


# These scopes allow neither changes nor releases.
LOOKING = frozenset({Scope.WALLETS_READ, Scope.POOL_READ, Scope.ROTATIONS_READ, Scope.AUDIT_READ})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the name, scopes, limits (None: no limit) and policy (None: unbounded) of their token."""

    name: str
    scopes: frozenset[str]
    private_key_reads_per_minute: int | None
    signatures_per_minute: int | None
    policy: str | None

    @classmethod
    def without_bounds(cls, name: str) -> "Caller":
        """An operator with a shell, or the service itself; only database login and IAM role bind them."""
        return cls(name, frozenset(), None, None, None)

    @property
    def only_looks(self) -> bool:
        """Whether the token can neither change nor release anything."""
        return self.scopes <= LOOKING

    def require(self, scope: Scope) -> None:
        """Pass if the token has this scope.

        Raises:
            NotAuthorized: it does not.
        """
        if scope not in self.scopes:
            raise NotAuthorized(scope)
