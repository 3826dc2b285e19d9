"""`kms-service wallet put-back|forget-replaced`: what wrapped DEKs were before a rotation."""

import json
import sys

import click

from kms_service.cli.lines import tell
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.service.wallets.dek_history import Outcome, PutBack
from kms_service.telemetry import logs


@click.command(name="put-back")
@click.argument("users", nargs=-1, metavar="[USER]...")
@click.option("--all", "every", is_flag=True, help="Every wallet whose DEK was ever replaced.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@on_loop
async def put_back(users: tuple[str, ...], *, every: bool, as_json: bool) -> None:
    """Put back DEKs whose replacements do not open.

    Opens each wallet. If one does not open, tries its earlier DEKs and puts back the first that opens it.
    Nothing is released. Needs kms:Decrypt with the context purpose=wallet-dek, and a login of kms_operate.
    Exits 1 if no DEK opens a wallet, or if somebody keeps changing it.
    """
    if bool(users) == every:
        raise click.UsageError("give at least one USER, or --all")
    failed = 0
    async with operator_services() as services:
        # Every wallet is reported below, so log lines about it would only be in the way.
        logs.configure_for_command("CRITICAL", services.settings.log_format)
        await services.pool_service.refresh()
        if every:
            async for done in services.dek_restorer.restore_all(operator(services)):
                failed += _tell(done, as_json=as_json)
        for user_id in users:
            failed += _tell(await services.dek_restorer.restore(operator(services), user_id), as_json=as_json)
    if failed:
        sys.exit(1)


@click.command(name="forget-replaced")
@on_loop
async def forget_replaced() -> None:
    """Forget DEKs that were replaced over 30 days ago.

    Only if the wallet opens without them: each wallet is opened, and nothing is released.
    """
    async with operator_services() as services:
        await services.pool_service.refresh()
        forgotten = await services.dek_restorer.forget_all(operator(services))
    tell(f"{forgotten:,} replaced DEKs forgotten.")


def _tell(done: PutBack, *, as_json: bool) -> bool:
    facts = {"userId": done.user_id, "outcome": done.outcome.value, "kmsKeyId": done.kms_key_id}
    tell(json.dumps(facts) if as_json else f"{done.user_id}: {done.outcome.value}")
    return done.outcome in {Outcome.LOST, Outcome.CHANGED}
