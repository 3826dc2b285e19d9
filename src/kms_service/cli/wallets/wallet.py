"""`kms-service wallet list` and `wallet import`; `wallet put-back` is in a module of its own."""

import re
import sys

import click

from kms_service.api.wallets.wallets import wallet_view
from kms_service.cli.lines import tell, warn
from kms_service.cli.process.command import key_arn, operator, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.cli.wallets.put_back import forget_replaced, put_back
from kms_service.crypto.material import Mnemonic, PrivateKey
from kms_service.settings import USER_ID
from kms_service.store.wallets.find import WalletRow

_PAGE_WALLETS = 500
_LONGEST_INPUT = 4096


@click.group()
def wallet() -> None:
    """List wallets, import one, and repair replaced DEKs; prints no secret."""


wallet.add_command(put_back)
wallet.add_command(forget_replaced)


@wallet.command(name="list")
@click.option("--key", help="Only wallets under this key: ARN or alias.")
@click.option("--after", metavar="USER", help="Continue after this user id.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, as in GET /wallets.")
@on_loop
async def list_wallets(key: str | None, after: str | None, limit: int, *, as_json: bool) -> None:
    """List wallets in order of user id.

    Shows each with its address, time and key. Names rows with an invalid MAC on standard error, without their
    address, and then exits 1.
    """
    async with operator_services() as services:
        kms_key_id, refused = await key_arn(services, key), 0
        while limit > 0:
            page = await services.wallets.list_wallets(
                limit=min(limit, _PAGE_WALLETS), after=after, kms_key_id=kms_key_id
            )
            for row in page.wallets:
                tell(wallet_view(row).model_dump_json(by_alias=True) if as_json else _line(row))
            for user_id in page.refused:
                warn(f"{user_id}  integrity_failure: for details run kms-service verify")
            refused += len(page.refused)
            limit -= len(page.wallets) + len(page.refused)
            after = page.next_after
            if after is None:
                break
    if after is not None:
        warn(f"There are more. Continue with: --after {after!r}")
    if refused:
        raise click.exceptions.Exit(1)


@wallet.command(name="import")
@click.argument("user")
@click.option("--json", "as_json", is_flag=True, help="Print the wallet as in GET /wallets/{userId}.")
@on_loop
async def import_wallet(user: str, *, as_json: bool) -> None:
    """Import a wallet that was created elsewhere.

    Takes a phrase of 12 to 24 English words, or a private key in hex. Prompts for it without echo, or reads
    standard input if that is not a terminal. It is never an argument, which other users of the machine could
    see. Refused if the user already has a wallet, or another user has this one.
    """
    if not re.fullmatch(USER_ID, user) or user in {".", ".."}:
        raise click.ClickException("USER is not 1 to 128 characters of A-Z a-z 0-9 . _ : @ -")
    secret = _secret(_ask())
    async with operator_services() as services:
        await services.pool_service.refresh()
        row = await services.importer.take(operator(services), user, secret, field="standard input")
    tell(wallet_view(row).model_dump_json(by_alias=True) if as_json else _line(row))


def _ask() -> str:
    if sys.stdin.isatty():
        typed: str = click.prompt("Phrase or private key", hide_input=True)
        return typed
    return sys.stdin.read(_LONGEST_INPUT)


def _secret(typed: str) -> PrivateKey | Mnemonic:
    # People copy phrases from paper, and keys with their prefix.
    words = " ".join(typed.split()).lower()
    digits = words.removeprefix("0x")
    if re.fullmatch(r"[0-9a-f]{64}", digits):
        return PrivateKey(bytes.fromhex(digits))
    return Mnemonic(words)


def _line(row: WalletRow) -> str:
    return f"{row.user_id:<40} {row.wallet_address}  {row.created_at:%Y-%m-%d %H:%M:%S}  {row.kms_key_id}"
