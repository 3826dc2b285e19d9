"""`kms-service pool`: the key pool from a terminal. Its longer commands are in modules beside this one."""

import json

import click

from kms_service.api.operations.pool import key_view, pool_view
from kms_service.cli.lines import tell
from kms_service.cli.pool.create import create_aliases
from kms_service.cli.pool.doctor import doctor
from kms_service.cli.pool.lifecycle import retire, rotate
from kms_service.cli.pool.table import pool_table
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.cli.screen import screen
from kms_service.kms.pool import KeyMode


@click.group()
def pool() -> None:
    """Show and change the pool of KMS keys."""


pool.add_command(create_aliases)
pool.add_command(doctor)
pool.add_command(retire)
pool.add_command(rotate)


@pool.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, in the shape of GET /kms/pool.")
@on_loop
async def status(*, as_json: bool) -> None:
    """Show every key: state, mode, wallets, last use, rotation.

    Each serving process has its own circuits: see GET /kms/pool and its metrics.
    """
    async with operator_services() as services:
        state = await services.pool_service.refresh()
    if as_json:
        tell(pool_view(state).model_dump_json(by_alias=True))
    else:
        screen().print(pool_table(state), crop=False)


@pool.command()
@click.argument("alias")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def drain(alias: str, *, as_json: bool) -> None:
    """Stop using the key ALIAS for new wallets.

    It still decrypts. Takes effect on all replicas within two seconds and survives restarts. The last active
    key cannot be drained.
    """
    await _set_mode(alias, KeyMode.DRAINING, as_json=as_json)


@pool.command()
@click.argument("alias")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def activate(alias: str, *, as_json: bool) -> None:
    """Use the drained key ALIAS for new wallets again."""
    await _set_mode(alias, KeyMode.ACTIVE, as_json=as_json)


async def _set_mode(alias: str, mode: KeyMode, *, as_json: bool) -> None:
    async with operator_services() as services:
        await services.pool_service.refresh()
        key = await services.pool_service.set_mode(operator(services), alias.removeprefix("alias/"), mode)
    if as_json:
        tell(json.dumps(key_view(key).model_dump(by_alias=True, mode="json")))
    else:
        tell(f"{key.info.alias} is {mode}. Wallets under it: {key.wallets:,}.")
