"""`kms-service pool retire|rotate`."""

import json
from datetime import timedelta

import click

from kms_service.cli.lines import tell
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.cli.screen import safe_text, screen
from kms_service.service.pool.retire import Retirement


@click.command()
@click.argument("alias")
@click.option(
    "--days",
    type=click.IntRange(0, 3650),
    default=30,
    show_default=True,
    help="The key's last use must be at least this many days ago.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def retire(alias: str, days: int, *, as_json: bool) -> None:
    """Say whether the key ALIAS may be disabled.

    Shows each condition with a tick, and takes an ARN too. It looks and changes nothing: disabling a key is
    yours to do; delete one only when it has been disabled for a long time and nobody has missed it. Exits
    1 while a condition does not hold.
    """
    async with operator_services() as services:
        await services.pool_service.refresh()
        judged = await services.key_lifecycle.retirement(alias, unused_for=timedelta(days=days))
    if as_json:
        tell(json.dumps(_facts(judged)))
    else:
        _print(judged)
    if not judged.safe:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("alias")
@click.option("--yes", is_flag=True, help="Do not ask.")
@on_loop
async def rotate(alias: str, *, yes: bool) -> None:
    """Have KMS make new material for the key ALIAS now.

    This is RotateKeyOnDemand. KMS allows 25 of these for a key, ever, and bills the first and second rotation
    of a key with a dollar a month each. Older material stays, and everything wrapped with it goes on opening.
    Wallets stay under the material they were wrapped with until they are wrapped anew; the automatic schedule
    is not changed.
    """
    if not yes:
        click.confirm(f"Rotate {alias}? It cannot be undone, and a key has 25 of these", abort=True)
    async with operator_services() as services:
        await services.pool_service.refresh()
        key = await services.key_lifecycle.rotate(operator(services), alias)
    tell(f"{key.alias} is rotating; KMS may take a while. To bring its wallets under the new material:")
    tell("  kms-service rotation start --wrapped-before 1m --no-dry-run")


def _print(judged: Retirement) -> None:
    console = screen()
    console.print(safe_text(f"{judged.alias or 'Key'}  {judged.key_arn}"), soft_wrap=True)
    for condition in judged.conditions:
        tick = safe_text("  ✔ ", "green") if condition.holds else safe_text("  ✘ ", "red")
        console.print(tick + safe_text(condition.finding), soft_wrap=True)
        if not condition.holds:
            console.print(safe_text(f"      {condition.remedy}", "dim"), soft_wrap=True)
    if judged.safe:
        console.print("Safe to disable. This command never does so; you may:")
        console.print(safe_text(f"  aws kms disable-key --key-id {judged.key_arn}"), soft_wrap=True)
    else:
        console.print("Not safe to disable.")


def _facts(judged: Retirement) -> dict[str, object]:
    return {
        "keyId": judged.key_arn,
        "alias": judged.alias,
        "safeToDisable": judged.safe,
        "conditions": [
            {"holds": each.holds, "finding": each.finding, "remedy": each.remedy or None}
            for each in judged.conditions
        ],
    }
