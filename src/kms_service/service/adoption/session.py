"""Puts an adoption together, with its own connections to KMS in the Region of the other service's keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kms_service.crypto.material import DataKey
from kms_service.kms.data_plane.client import connect
from kms_service.kms.foreign import ForeignKeys
from kms_service.service.adoption.adopt import Adopter
from kms_service.service.adoption.encrypted_phrase import Layout
from kms_service.service.adoption.opening import SourceOpener
from kms_service.service.wallets.creation import WalletKeeper
from kms_service.settings import Settings


@asynccontextmanager
async def adopting(
    settings: Settings, keeper: WalletKeeper, *, region: str, layout: Layout, master_key: DataKey | None
) -> AsyncIterator[Adopter]:
    """An adopter, for as long as the block lasts.

    Args:
        settings: the credentials and the KMS endpoint.
        keeper: stores the wallets here.
        region: the Region of the other service's KMS keys.
        layout: the layout of its encrypted phrases.
        master_key: its environment key, for rows from before it used KMS, or None. The caller owns it.
    """
    keys = ForeignKeys(connect(settings.model_copy(update={"aws_region": region})), region)
    try:
        yield Adopter(SourceOpener(keys, layout, master_key), keeper)
    finally:
        await keys.close()
