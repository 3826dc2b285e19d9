"""The ARNs by which stored rows may name a KMS key: a multi-Region key has one in each of its Regions."""

from kms_service.kms.keys import arn
from kms_service.kms.pool import KmsKeyPool
from kms_service.store.rewrap.jobs import RewrapJobStore


async def names_of(key_arn: str, pool: KmsKeyPool, store: RewrapJobStore) -> list[str]:
    """This ARN, then the others by which a row may name the same key.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    if not arn.is_multi_region(key_arn):
        return [key_arn]
    here = [arn.in_region(key_arn, region.name) for region in pool.regions]
    # Rows may also name it in a Region that was the second one once, and is no longer set.
    before = [each for each in await store.keys_in_use() if arn.is_same_key(each, key_arn)]
    return list(dict.fromkeys([key_arn, *here, *before]))
