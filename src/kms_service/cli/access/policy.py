"""`kms-service policy check|set|show|list|history|usage`."""

import json
from pathlib import Path
from typing import Any

import click

from kms_service.cli.lines import tell, warn
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.cli.times import rfc3339
from kms_service.service.policies.language.document import MAX_BYTES, InvalidPolicy, json_schema, parse
from kms_service.store.policies.versions import PolicyRow
from kms_service.store.policies.windows import WindowUse

_FILE = click.Path(allow_dash=True, path_type=Path)
_PAGE = 500


@click.group()
def policy() -> None:
    """Set and show policies, which limit what tokens may do with keys.

    A policy is a JSON document. `deploy/policies` has examples, and docs/policies.md describes the language.
    Bind a token to a policy with: kms-service token create NAME --policy POLICY.
    """


@policy.command()
@click.argument("file", type=_FILE, required=False)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a policy instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(file: Path | None, *, schema: bool, as_json: bool) -> None:
    """Check that FILE is a valid policy; nothing is changed.

    Every problem is printed with its location in the document. `-` is standard input.
    """
    if schema:
        tell(*json.dumps(json_schema(), indent=2).splitlines())
        return
    if file is None:
        raise click.UsageError("give the FILE to check, or --schema")
    problems: tuple[str, ...] = ()
    rules: list[dict[str, str]] = []
    try:
        rules = [{"id": rule.id, "action": rule.action} for rule in parse(_read(file)).rules]
    except InvalidPolicy as error:
        problems = error.problems
    if as_json:
        tell(json.dumps({"valid": not problems, "problems": problems, "rules": rules}))
    elif problems:
        warn(*problems)
    else:
        tell(f"{file} is a valid policy. Rules: {len(rules)}.")
    if problems:
        raise click.exceptions.Exit(1)


@policy.command(name="set")
@click.argument("name")
@click.argument("file", type=_FILE, required=False)
@click.option("--file", "given", type=_FILE, help="The same as FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def set_policy(name: str, file: Path | None, given: Path | None, *, as_json: bool) -> None:
    """Store FILE as the newest version of the policy called NAME.

    Takes effect within two seconds, on all replicas and for every token bound to it. Storing the same
    document again creates no new version. `-` is standard input.
    """
    if (file is None) is (given is None):
        raise click.UsageError("give the FILE of the policy, once")
    document = _read(file or given or Path("-"))
    async with operator_services() as services:
        await services.pool.refresh()
        made = await services.policies.set(operator(services), name, document)
    told = "" if made.created else ", as it was"
    tell(json.dumps(_facts(made.row)) if as_json else f"{name} is at version {made.row.version}{told}.")


@policy.command()
@click.argument("name")
@click.option(
    "--version", type=click.IntRange(1), metavar="N", help="An older version.  [default: the newest]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON with the document in it.")
@on_loop
async def show(name: str, version: int | None, *, as_json: bool) -> None:
    """Print the policy called NAME as it was set."""
    async with operator_services() as services:
        row = await services.policies.show(name, version)
    document = {"document": json.loads(row.document)}
    tell(*([json.dumps({**_facts(row), **document})] if as_json else row.document.rstrip().split("\n")))


@policy.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def list_policies(*, as_json: bool) -> None:
    """List all policies with their newest versions."""
    async with operator_services() as services:
        rows = await services.policies.list_all()
    if as_json:
        tell(json.dumps([_facts(row) for row in rows]))
        return
    for row in rows:
        tell(f"{row.name:<24} version {row.version:<5} {row.set_at:%Y-%m-%d %H:%M}  {row.set_by}")


@policy.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def history(name: str, *, as_json: bool) -> None:
    """List the versions of the policy called NAME, newest first."""
    async with operator_services() as services:
        rows = await services.policies.history(name)
    if as_json:
        tell(json.dumps([_facts(row) for row in rows]))
        return
    for row in rows:
        tell(f"version {row.version:<5} {row.set_at:%Y-%m-%d %H:%M}  {row.set_by}")


@policy.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one window a line.")
@on_loop
async def usage(name: str, *, as_json: bool) -> None:
    """Show how much of each window of the policy called NAME is used.

    Amounts are in the smallest unit. Unused windows are not listed.
    """
    async with operator_services() as services:
        after: tuple[str, str, str, str] | None = None
        while page := await services.policies.usage(name, limit=_PAGE, after=after):
            for use in page:
                tell(json.dumps(window_facts(use)) if as_json else _line(use))
            after = page[-1].key


def _read(file: Path) -> bytes:
    try:
        with click.open_file(str(file), "rb") as opened:
            data: bytes = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from None
    return data


def _facts(row: PolicyRow) -> dict[str, Any]:
    return {"name": row.name, "version": row.version, "setBy": row.set_by, "setAt": rfc3339(row.set_at)}


def window_facts(use: WindowUse) -> dict[str, Any]:
    """A window's use as the routes answer it."""
    return {
        "rule": use.rule,
        "measure": use.measure,
        "per": use.per,
        "of": use.of,
        "subject": use.subject,
        "chainId": use.chain_id,
        "contract": use.contract,
        "used": str(use.used),
        "max": str(use.maximum),
    }


def _line(use: WindowUse) -> str:
    asset = f" of {use.contract} on chain {use.chain_id}" if use.contract else ""
    return f"{use.rule}: {use.used} of {use.maximum} {use.window} {use.subject}{asset}"
