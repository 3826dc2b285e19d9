"""`kms-service token create|rotate|policy|confirm|list|revoke`."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from kms_service.access.scopes import Scope
from kms_service.bootstrap import Services
from kms_service.cli.access.confirm import confirm
from kms_service.cli.lines import tell, warn
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.cli.times import Span, rfc3339
from kms_service.errors import KmsServiceError
from kms_service.service.access.tokens import NewToken
from kms_service.store.access.tokens import TokenRow


@click.group()
def token() -> None:
    """Create, rotate, list and revoke the bearer tokens of calling services."""


token.add_command(confirm)


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the token allows; repeat for several.",
)
@click.option("--expires-in", type=Span(), help="30m, 12h, 90d; without it the token does not expire.")
@click.option(
    "--private-key-reads-per-minute",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Maximum private-key reads and exports a minute, over all replicas; without it, no limit.",
)
@click.option(
    "--signatures-per-minute",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Maximum signatures a minute, over all replicas; without it, no limit.",
)
@click.option(
    "--policy", metavar="NAME", help="The policy that limits it; without one, only its scopes and limits do."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def create(
    name: str,
    scopes: tuple[str, ...],
    expires_in: timedelta | None,
    private_key_reads_per_minute: int | None,
    signatures_per_minute: int | None,
    policy: str | None,
    *,
    as_json: bool,
) -> None:
    """Create a token called NAME, and print it this once.

    Only its hash is stored. Names are never reused, because the audit log refers to them.
    """
    async with operator_services() as services:
        await services.pool.refresh()
        made = await services.tokens.create(
            operator(services),
            name,
            [Scope(scope) for scope in scopes],
            expires_in=expires_in,
            private_key_reads_per_minute=private_key_reads_per_minute,
            signatures_per_minute=signatures_per_minute,
            policy=policy,
        )
    tell(*([json.dumps({**_facts(made.row), "token": made.secret})] if as_json else _show_once(made)))


@token.command()
@click.argument("name")
@click.option(
    "--overlap",
    type=Span(),
    default="1h",
    show_default=True,
    help="How long the old secret stays valid: 30m, 12h, 7d.",
)
@click.option("--expires-in", type=Span(), help="A new expiry; without it the token keeps its expiry.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def rotate(name: str, overlap: timedelta, expires_in: timedelta | None, *, as_json: bool) -> None:
    """Give the valid token called NAME a new secret.

    Prints it this once. The old secret stays valid for the overlap, so that callers can switch. Name, scopes
    and limits stay the same. If a secret leaked, revoke the token instead.
    """
    async with operator_services() as services:
        await services.pool.refresh()
        made = await services.tokens.rotate(operator(services), name, overlap=overlap, expires_in=expires_in)
    tell(*([json.dumps({**_facts(made.row), "token": made.secret})] if as_json else _show_once(made)))


@token.command(name="policy")
@click.argument("name")
@click.option("--policy", metavar="NAME", help="The policy that limits it from now on.")
@click.option(
    "--none", "unbound", is_flag=True, help="Remove its policy: only its scopes and limits apply from now on."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def set_policy(name: str, policy: str | None, *, unbound: bool, as_json: bool) -> None:
    """Bind the valid token called NAME to a policy, or to none.

    Takes effect on all replicas within two seconds.
    """
    if (policy is None) is not unbound:
        raise click.UsageError("give --policy NAME or --none")
    async with operator_services() as services:
        await services.pool.refresh()
        row = await services.tokens.set_policy(operator(services), name, policy)
    told = f"{name} is bound to the policy {policy}." if policy else f"{name} is bound to no policy."
    tell(json.dumps(_facts(row)) if as_json else told)


@token.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def list_tokens(*, as_json: bool) -> None:
    """List all tokens with their scopes and times.

    The tokens themselves are not stored anywhere.
    """
    async with operator_services() as services:
        rows = await services.tokens.list_all()
        refused = await _find_refused(services)
    if as_json:
        tell(json.dumps([{**_facts(row), "refused": refused.get(row.name)} for row in rows]))
        return
    if refused:
        warn(f"Refused, because an operator did not write their current rows: {', '.join(refused)}")
    for row in rows:
        used = "never used" if row.last_used_at is None else f"used {row.last_used_at:%Y-%m-%d %H:%M}"
        bounds = f"  policy {row.policy}" if row.policy else ""
        tell(f"{row.name:<24} {_state(row):<10} {used:<22} {' '.join(row.scopes)}{bounds}")


@token.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def revoke(name: str, *, as_json: bool) -> None:
    """Revoke the token called NAME permanently.

    Takes effect on all replicas within two seconds.
    """
    async with operator_services() as services:
        await services.pool.refresh()
        row = await services.tokens.revoke(operator(services), name)
    tell(json.dumps(_facts(row)) if as_json else f"{name} is revoked.")


async def _find_refused(services: Services) -> Mapping[str, str]:
    try:
        return await services.tokens.find_refused()
    except KmsServiceError as error:
        # Those who need the list most may have no KMS.
        warn(f"kms-service: MACs are not checked: {error}")
        return {}


def _facts(row: TokenRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "scopes": list(row.scopes),
        "state": _state(row),
        "createdAt": rfc3339(row.created_at),
        "expiresAt": rfc3339(row.expires_at),
        "revokedAt": rfc3339(row.revoked_at),
        "previousExpiresAt": rfc3339(row.previous_expires_at),
        "lastUsedAt": rfc3339(row.last_used_at),
        "privateKeyReadsPerMinute": row.private_key_reads_per_minute,
        "signaturesPerMinute": row.signatures_per_minute,
        "policy": row.policy,
    }


def _state(row: TokenRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= datetime.now(UTC) else "valid"


def _show_once(made: NewToken) -> list[str]:
    return [
        made.secret,
        "",
        "This is the only time it is shown. Send it as: Authorization: Bearer <token>",
    ]
