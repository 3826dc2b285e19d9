"""`kms-service token confirm`."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from kms_service.bootstrap import Services
from kms_service.cli.lines import tell
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.cli.times import rfc3339
from kms_service.errors import TokenNotFound
from kms_service.quantity import quantity
from kms_service.service.access.tokens import Unconfirmed
from kms_service.telemetry.printable import printable


@click.command()
@click.option(
    "--yes",
    "names",
    multiple=True,
    metavar="NAME",
    help="Confirm this token without asking; repeat for several. The others stay as they are.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def confirm(names: tuple[str, ...], *, as_json: bool) -> None:
    """Confirm tokens from a version without MACs.

    They are refused until a person confirms each as it was made. The command shows everything that a token
    may do, and asks for each on a terminal; or name tokens with --yes. Each confirmation is recorded. Tokens
    that are not confirmed stay refused; revoke them.
    """
    async with operator_services() as services:
        await services.pool.refresh()
        pending = await services.tokens.list_unconfirmed()
        chosen = _pick(pending, names)
        if not as_json:
            _show(pending)
        if not names and not as_json and sys.stdin.isatty():
            chosen = [each for each in pending if not each.had_mac and _is_right(each)]
        await _confirm(services, chosen)
    if as_json:
        tell(json.dumps([_facts(each, confirmed=each in chosen) for each in pending]))
        return
    for each in chosen:
        tell(f"{each.row.name} is confirmed.")
    if pending and not chosen:
        tell("Confirm each that is as it was made with --yes NAME.")


async def _confirm(services: Services, chosen: Sequence[Unconfirmed]) -> None:
    for each in chosen:
        await services.tokens.confirm(operator(services), each)


def _pick(pending: Sequence[Unconfirmed], names: Sequence[str]) -> list[Unconfirmed]:
    by_name = {each.row.name: each for each in pending}
    for name in names:
        if name not in by_name:
            raise TokenNotFound(f"no token named {name} is waiting for confirmation")
        if by_name[name].had_mac:
            raise click.ClickException(f"{name} had a MAC before: {_AFTER_A_MAC}")
    return [by_name[name] for name in dict.fromkeys(names)]


def _is_right(each: Unconfirmed) -> bool:
    return click.confirm(f"Is {printable(each.row.name)} as it was made?", default=False)


_AFTER_A_MAC = "somebody changed it in the database; revoke it and make another"


def _show(pending: Sequence[Unconfirmed]) -> None:
    if not pending:
        tell("Every valid token has its MAC.")
    for each in pending:
        row = each.row
        used = "never" if row.last_used_at is None else rfc3339(row.last_used_at)
        origin = "" if each.created_on_record else "  NO ROW OF THE AUDIT LOG TELLS OF THAT"
        lines = {
            "scopes": " ".join(row.scopes),
            "limits": " and ".join(
                (
                    _limit(row.private_key_reads_per_minute, "private-key read", "private-key reads"),
                    _limit(row.signatures_per_minute, "signature", "signatures"),
                )
            )
            + " a minute",
            "policy": row.policy or "none: its scopes are all",
            "created": f"{rfc3339(row.created_at)}{origin}",
            "expires": rfc3339(row.expires_at) or "never",
            "last used": used,
        }
        if each.had_mac:
            lines["refused"] = f"it had a MAC before: {_AFTER_A_MAC}"
        tell(row.name)
        for what, told in lines.items():
            tell(f"  {what:<10} {told}")


def _limit(value: int | None, one: str, many: str) -> str:
    return f"any number of {many}" if value is None else quantity(value, one, many)


def _facts(each: Unconfirmed, *, confirmed: bool) -> dict[str, Any]:
    row = each.row
    return {
        "name": row.name,
        "scopes": list(row.scopes),
        "privateKeyReadsPerMinute": row.private_key_reads_per_minute,
        "signaturesPerMinute": row.signatures_per_minute,
        "policy": row.policy,
        "createdAt": rfc3339(row.created_at),
        "createdOnRecord": each.created_on_record,
        "expiresAt": rfc3339(row.expires_at),
        "lastUsedAt": rfc3339(row.last_used_at),
        "hadMac": each.had_mac,
        "confirmed": confirmed,
    }
