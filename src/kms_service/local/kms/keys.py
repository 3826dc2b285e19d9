"""Keys and aliases, kept in moto: one account, with a store for each Region.

moto keeps what describes a key. What it does not know is kept beside it: material that is rotated, the period
of the rotation, and replicas in other Regions that share material.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from moto.core.exceptions import JsonRESTError
from moto.kms.models import Key as MotoKey
from moto.kms.models import KmsBackend
from moto.kms.responses import KmsResponse

from kms_service.local.kms.material import Material, digest_in, old_key_id_in
from kms_service.local.kms.protocol import KmsError, Params, Result

SYMMETRIC: Final = "SYMMETRIC_DEFAULT"
ENCRYPTION: Final = "ENCRYPT_DECRYPT"


@dataclass(eq=False)
class Key:
    """A customer managed key, with everything its describing operations answer.

    Attributes:
        kept: moto's record of it.
        store: the Region it is in.
        materials: the versions of its secret, the current one last; none of an asymmetric key. The replicas
            of a multi-Region key hold this same list.
        rotation_period: in days; `None` while it is not rotated.
        rotation_enabled_at: since when, in seconds since 1970.
        shared_policies: documents by name, beside its own policy: as AWS RAM makes for those it shares with.
    """

    kept: MotoKey = field(repr=False)
    store: "KeyStore" = field(repr=False)
    materials: list[Material]
    rotation_period: int | None = None
    rotation_enabled_at: float = 0.0
    shared_policies: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The key id: the last part of the ARN."""
        return str(self.kept.id)

    @property
    def arn(self) -> str:
        """The key's ARN."""
        return str(self.kept.arn)

    @property
    def state(self) -> str:
        """`Enabled`, `Disabled` or `PendingDeletion`."""
        return str(self.kept.key_state)

    @state.setter
    def state(self, state: str) -> None:
        self.kept.key_state, self.kept.enabled = state, state == "Enabled"

    @property
    def policy(self) -> str:
        """The key policy, JSON."""
        return str(self.kept.policy)

    @policy.setter
    def policy(self, document: str) -> None:
        self.kept.policy = document

    @property
    def description(self) -> str:
        """What it is for, in its maker's words."""
        return str(self.kept.description)

    @property
    def created(self) -> float:
        """When it was made, in seconds since 1970."""
        return float(self.kept.creation_date)

    @property
    def tags(self) -> dict[str, str]:
        """Its tags, by name."""
        return dict(self.store.backend.tagger.get_tag_dict_for_resource(self.id))

    @property
    def is_replica(self) -> bool:
        """Whether it is a copy of a multi-Region key of another Region."""
        return bool(
            self.kept.multi_region and self.kept.multi_region_configuration["MultiRegionKeyType"] == "REPLICA"
        )

    def require(self, *, enabled: bool) -> None:
        """Check the key's state, and refuse as KMS does.

        Raises:
            KmsError: KMSInvalidStateException when pending deletion; DisabledException if `enabled` is asked.
        """
        if self.state == "PendingDeletion":
            raise KmsError("KMSInvalidStateException", f"{self.arn} is pending deletion.")
        if enabled and self.state == "Disabled":
            raise KmsError("DisabledException", f"{self.arn} is disabled.")

    def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt under the current material; the context is authenticated."""
        return self.materials[-1].wrap(plaintext, context)


class KeyStore:
    """All keys and aliases of one account and Region."""

    def __init__(self, account: "Account", region: str) -> None:
        self.account = account
        self.region = region
        self.backend = KmsBackend(region, account.number)
        self.keys: dict[str, Key] = {}
        """By ARN."""
        self.alias_dates: dict[str, float] = {}
        """When each alias was last pointed at a key, in seconds since 1970."""
        self._makers: dict[bytes, tuple[Key, Material]] = {}

    def arn(self, resource: str) -> str:
        """The ARN of `key/…` or `alias/…` here."""
        return f"arn:aws:kms:{self.region}:{self.account.number}:{resource}"

    def create(
        self,
        description: str = "",
        policy: str = "",
        tags: Mapping[str, str] | None = None,
        *,
        spec: str = SYMMETRIC,
        usage: str = ENCRYPTION,
        multi_region: bool = False,
        key_id: str | None = None,
        material: Material | None = None,
    ) -> Key:
        """Add an enabled key; without a policy it gets the one that KMS gives by default.

        `key_id` and `material` are for keys that have to be the same in several processes.
        """
        # For a symmetric key moto makes an RSA key too, in a tenth of a second; an elliptic one takes none.
        made_as = "ECC_NIST_P256" if spec == SYMMETRIC else spec
        kept = self.backend.create_key(policy, usage, made_as, description, None, multi_region)
        kept.key_spec = spec
        if key_id is not None:
            del self.backend.keys[kept.id]
            kept.id, kept.arn = key_id, self.arn(f"key/{key_id}")
        key = self.keep(kept, [material or Material()] if spec == SYMMETRIC else [])
        self.backend.tag_resource(key.id, dict(tags or {}))
        return key

    def keep(self, kept: MotoKey, materials: list[Material]) -> Key:
        """Add a key that moto has made, or once had."""
        key = Key(kept, self, materials)
        self.backend.keys[key.id] = kept
        self.keys[key.arn] = key
        return key

    def replicate(self, primary: Key, description: str, policy: str, tags: Mapping[str, str]) -> Key:
        """Add a replica of another Region's multi-Region key: its material and id, with facts of its own."""
        replica = self.create(description, policy, tags, multi_region=True, key_id=primary.id)
        replica.materials = primary.materials
        replica.rotation_period = primary.rotation_period
        replica.rotation_enabled_at = primary.rotation_enabled_at
        replica.kept.key_material = primary.kept.key_material
        replica.kept.multi_region_configuration["MultiRegionKeyType"] = "REPLICA"
        return replica

    def forget(self, key: Key) -> None:
        """Delete a key for good, and its aliases."""
        self.backend.delete_key(key.id)
        del self.keys[key.arn]
        self._makers.clear()

    @property
    def aliases(self) -> dict[str, str]:
        """The key ARN behind each alias name, by name."""
        named = ((alias.alias_name, alias.target_key_id) for alias in self.backend.list_aliases())
        return {name: self.arn(f"key/{key_id}") for name, key_id in sorted(named)}

    def set_alias(self, name: str, key: Key, changed: float | None = None) -> None:
        """Point `alias/…` at the key."""
        self.backend.delete_alias(name)
        self.backend.create_alias(key.id, name)
        self.alias_dates[name] = changed or time.time()

    def find(self, identifier: str, *, by_alias: bool = True) -> Key:
        """The key of a key id, key ARN or, unless told otherwise, alias name or alias ARN.

        Raises:
            KmsError: NotFoundException.
        """
        if (key := self.keys.get(identifier)) is not None:
            return key
        prefix = self.arn("")
        name = identifier.removeprefix(prefix)
        if name.startswith("arn:"):
            raise KmsError("NotFoundException", f"Invalid arn {identifier.split(':')[3]}")
        if name.startswith("alias/"):
            if by_alias and (arn := self.aliases.get(name)) is not None:
                return self.keys[arn]
            raise KmsError("NotFoundException", f"Alias {prefix}{name} is not found.")
        arn = f"{prefix}key/{name.removeprefix('key/')}"
        if arn not in self.keys:
            raise KmsError("NotFoundException", f"Key '{arn}' does not exist")
        return self.keys[arn]

    def maker(self, blob: bytes) -> tuple[Key, Material]:
        """The key and the material that made this blob, found from the blob alone.

        Raises:
            KmsError: InvalidCiphertextException, also when the key is gone.
        """
        digest = digest_in(blob)
        if digest is None:
            key = self.keys.get(self.arn(f"key/{old_key_id_in(blob)}"))
            found = (key, key.materials[0]) if key is not None and key.materials else None
        elif (found := self._makers.get(digest)) is None:
            keys = list(self.keys.values())
            self._makers = {each.digest: (key, each) for key in keys for each in key.materials}
            found = self._makers.get(digest)
        if found is None:
            raise KmsError("InvalidCiphertextException")
        return found

    def ask_moto(self, operation: str, params: Params) -> Result:
        """Have moto do an operation on the keys of this store; key ids must be bare.

        Raises:
            KmsError: as moto refuses.
        """
        self._responses.body = json.dumps(params)
        name = re.sub("(?<!^)(?=[A-Z])", "_", operation).lower()
        try:
            return dict(json.loads(getattr(self._responses, name)()) or {})
        except JsonRESTError as error:
            raise KmsError(error.error_type, error.message) from None

    @cached_property
    def _responses(self) -> "_Responses":
        return _Responses(self.backend, self.region, self.account.number)


class _Responses(KmsResponse):
    """moto's operations, on a backend of ours in place of moto's global ones, and without its server."""

    def __init__(self, backend: KmsBackend, region: str, account: str) -> None:
        super().__init__()
        self._backend, self.region, self.current_account = backend, region, account

    @property
    def kms_backend(self) -> KmsBackend:
        return self._backend


class Account:
    """An AWS account: what a multi-Region key is replicated within."""

    def __init__(self, number: str) -> None:
        self.number = number
        self.regions: dict[str, KeyStore] = {}

    def region(self, name: str) -> KeyStore:
        """The keys of a Region, which may have none yet."""
        if name not in self.regions:
            self.regions[name] = KeyStore(self, name)
        return self.regions[name]

    def find_related(self, key: Key) -> list[Key]:
        """Every key with this key's id, itself included: a multi-Region key's primary and its replicas."""
        keys = [store.keys.get(store.arn(f"key/{key.id}")) for store in self.regions.values()]
        return [each for each in keys if each is not None]
