"""`kms-service canary add|remove|list`."""

import json

import click

from kms_service.cli.lines import tell
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.cli.times import rfc3339


@click.group()
def canary() -> None:
    """Mark wallets that nobody should ever open, and raise an alarm when somebody does.

    The caller gets a normal answer. The service writes an audit event canary.opened and an error-level
    log event canary_opened, and counts it in kms_service_canary_opened_total.
    """


@canary.command()
@click.argument("user_id", metavar="USER")
@on_loop
async def add(user_id: str) -> None:
    """Make the wallet of USER a canary.

    Takes effect on all replicas within two seconds.
    """
    async with operator_services() as services:
        await services.pool.refresh()
        await services.canaries.add(operator(services), user_id)
    tell(f"The wallet of {user_id} is a canary.")


@canary.command()
@click.argument("user_id", metavar="USER")
@on_loop
async def remove(user_id: str) -> None:
    """Stop treating the wallet of USER as a canary."""
    async with operator_services() as services:
        await services.pool.refresh()
        await services.canaries.remove(operator(services), user_id)
    tell(f"The wallet of {user_id} is no longer a canary.")


@canary.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def list_canaries(*, as_json: bool) -> None:
    """List all canaries."""
    async with operator_services() as services:
        canaries = await services.canaries.list_all()
    if as_json:
        facts = [
            {"userId": c.user_id, "addedBy": c.added_by, "addedAt": rfc3339(c.added_at)} for c in canaries
        ]
        tell(json.dumps(facts))
        return
    for each in canaries:
        tell(f"{each.user_id:<40} {each.added_at:%Y-%m-%d %H:%M}  {each.added_by}")
