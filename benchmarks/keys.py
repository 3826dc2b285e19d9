"""The KMS stand-in's keys, derived from a seed, so that filling a table uses the keys that it serves."""

import hashlib
import time
import uuid

from kms_service.local.kms.keys import Account, Key
from kms_service.local.kms.material import Material

REGION = "us-east-1"
PREFIX = "Empressa-wallet-key"
_ACCOUNT = "000000000000"
_SEED = "benchmark"


def make_account(count: int) -> Account:
    """An account with `count` keys and their aliases, the same in every process."""
    account = Account(_ACCOUNT)
    store = account.region(REGION)
    for number in range(count):
        name = f"{_SEED}/{number}"
        material = Material(hashlib.sha256(name.encode()).digest())
        key = store.create(name, key_id=str(uuid.uuid5(uuid.NAMESPACE_URL, name)), material=material)
        key.rotation_period, key.rotation_enabled_at = 365, time.time()
        store.set_alias(f"alias/{PREFIX}-{number + 1}", key)
    return account


def nth(account: Account, number: int) -> Key:
    """The key behind the alias with this number, counted from 1."""
    return account.region(REGION).find(f"alias/{PREFIX}-{number}")
