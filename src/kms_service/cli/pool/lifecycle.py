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

    Shows each condition and whether it is met. ALIAS may be an ARN. The command changes nothing: disable the
    key yourself, and delete it only after it has been disabled for a long time without anybody missing it.
    Exits 1 until every condition is met.
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
    """Make KMS create new material for the key ALIAS now.

    This calls RotateKeyOnDemand. KMS allows 25 of these in a key's lifetime, and bills a dollar a month each
    for the first and second rotation. Older material stays, and everything wrapped with it still opens.
    Wallets stay under the material that wrapped them until a rotation wraps them again. The automatic
    schedule does not change.
    """
    if not yes:
        click.confirm(
            f"Rotate {alias}? This cannot be undone, and KMS allows 25 in a key's lifetime.", abort=True
        )
    async with operator_services() as services:
        await services.pool_service.refresh()
        key = await services.key_lifecycle.rotate(operator(services), alias)
    tell(f"{key.alias} is rotating; KMS may take a while. To wrap its wallets with the new material:")
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
