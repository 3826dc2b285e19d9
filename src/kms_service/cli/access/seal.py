"""`kms-service seal` and `kms-service unseal`."""

import click

from kms_service.api.operations.seal import seal_view
from kms_service.cli.lines import tell
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop


@click.command()
@click.option("--reason", required=True, help="The reason, for the audit log.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def seal(reason: str, *, as_json: bool) -> None:
    """Stop every private-key read, export and signature on all replicas within two seconds.

    These requests get 503 sealed until `kms-service unseal`. Wallets can still be created.
    """
    async with operator_services() as services:
        await services.pool.refresh()
        change = await services.seal.seal(operator(services), reason)
    text = f"Sealed since {change.at:%Y-%m-%d %H:%M:%S} UTC. Run kms-service unseal to allow releases again."
    tell(seal_view(change).model_dump_json(by_alias=True) if as_json else text)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def unseal(*, as_json: bool) -> None:
    """Allow private-key reads, exports and signatures again."""
    async with operator_services() as services:
        await services.pool.refresh()
        change = await services.seal.unseal(operator(services))
    tell(
        seal_view(change).model_dump_json(by_alias=True)
        if as_json
        else "Unsealed: releases and signatures are allowed again."
    )
