"""`kms-service wallet list`."""

from collections.abc import AsyncIterator

import click

from kms_service.api.wallets.wallets import wallet_view
from kms_service.bootstrap import Services
from kms_service.cli.process.command import key_arn, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.store.wallets.find import WalletRow

_PAGE_WALLETS = 500


@click.group()
def wallet() -> None:
    """See which wallets there are; nothing here opens one."""


@wallet.command(name="list")
@click.option("--key", help="Only wallets under this key: ARN or alias.")
@click.option("--after", metavar="USER", help="Go on behind this user id.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, as in GET /wallets.")
@on_loop
async def list_wallets(key: str | None, after: str | None, limit: int, *, as_json: bool) -> None:
    """List wallets in order of user id: user, address, time and key.

    With an ARN for --key it needs the database only, so it works while KMS does not.
    """
    async with operator_services() as services:
        last = None
        async for row in _rows(services, await key_arn(services, key), after, limit + 1):
            if limit == 0:
                click.echo(f"There are more. Go on with: --after {last!r}", err=True)
                return
            click.echo(wallet_view(row).model_dump_json(by_alias=True) if as_json else _line(row))
            last, limit = row.user_id, limit - 1


async def _rows(
    services: Services, kms_key_id: str | None, after: str | None, limit: int
) -> AsyncIterator[WalletRow]:
    while limit > 0:
        page = await services.wallets.list_wallets(
            limit=min(limit, _PAGE_WALLETS), after=after, kms_key_id=kms_key_id
        )
        for row in page.wallets:
            yield row
        limit -= len(page.wallets)
        after = page.next_after
        if after is None:
            return


def _line(row: WalletRow) -> str:
    return f"{row.user_id:<40} {row.wallet_address}  {row.created_at:%Y-%m-%d %H:%M:%S}  {row.kms_key_id}"
