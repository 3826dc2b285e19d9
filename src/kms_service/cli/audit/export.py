"""`kms-service audit export|release-mac-keys`."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TextIO

import click

from kms_service.bootstrap import Services
from kms_service.cli.audit.heads import log_option, read_known_heads
from kms_service.cli.audit.progress import row_progress
from kms_service.cli.lines import tell
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.cli.times import Moment, rfc3339
from kms_service.errors import InvalidRequest
from kms_service.quantity import quantity
from kms_service.service.evidence.export import Exported, Wanted

_FILE = click.Path(dir_okay=False, path_type=Path)
_PASSES = 2  # every row is verified, and then written


@click.command()
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The zip file to write."
)
@click.option("--since", type=Moment(), help="Only events from this time on; RFC 3339, or 24h, 7d.")
@click.option("--until", type=Moment(), help="Only events before this time.  [default: now]")
@log_option(": its audit_head events go into the bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def export(
    out: Path, since: datetime | None, until: datetime | None, log: TextIO | None, *, as_json: bool
) -> None:
    """Write the audit log as a bundle that anybody can check.

    The check does not need this service. The zip file contains events, chains, heads, wrapped MAC keys, the
    pool's keys, a manifest with the SHA-256 of every member (signed if AUDIT_SIGNING_KEY is set), and
    verify.py: unpack it, and run `python3 verify.py --fingerprint SHA256:…`. The log is verified first, and
    the bundle contains the result. Exits 1 if anything is wrong.
    """
    until = until or datetime.now(UTC)
    if since is not None and since >= until:
        raise InvalidRequest("must be before --until", "since")
    async with operator_services() as services:
        heads, places = await read_known_heads(services, log)
        wanted = Wanted(
            since=since,
            until=until,
            heads=heads,
            heads_from=places,
            keys=await _keys(services),
            made_by=operator(services).name,
        )
        total = None if since is not None else _PASSES * await services.verifier.expected_rows()
        with row_progress("audit rows", total, quiet=as_json) as on_rows, write_privately(out) as file:
            done = await services.evidence_export.export(wanted, file, on_rows)
    tell(*([json.dumps(_facts(out, done))] if as_json else _describe(out, done)))
    if done.findings:
        sys.exit(1)


@click.command(name="release-mac-keys")
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write."
)
@click.option("--reason", required=True, help="For whom and why, for the audit log.")
@on_loop
async def release_mac_keys(out: Path, reason: str) -> None:
    """Give an auditor the MAC keys of all chains, on record.

    With them, verify.py --mac-keys checks each event. They are secret: anybody who has them and can write to
    the database can forge events in chains that are still open. Restart the service afterwards, so that its
    new chains are under new keys. The file gets mode 0600.
    """
    async with operator_services() as services:
        await services.pool.refresh()  # the record needs a chain, and its MAC key a KMS key
        keys = await services.evidence_export.mac_keys(operator(services), reason[:1024])
    with write_privately(out) as file:
        file.write(json.dumps({"keys": keys}, indent=1).encode())
    chains = quantity(len(keys), "chain", "chains")
    tell(f"{out} holds the MAC keys of {chains}; restart the service before you hand it over")


@contextmanager
def write_privately(out: Path) -> Iterator[IO[bytes]]:
    """A file of mode 0600 that replaces `out` once it is whole; an unfinished one is removed.

    Raises:
        click.ClickException: it cannot be written, or `out` is there and not a regular file.
    """
    if not out.name:
        raise click.ClickException(f"{out} is not a file")
    part = out.with_name(f"{out.name}.part")
    try:
        if out.exists() and not out.is_file():
            raise click.ClickException(f"{out} is not a file")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    except OSError as error:
        raise click.ClickException(f"{out} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


async def _keys(services: Services) -> list[dict[str, Any]]:
    await services.pool.refresh()
    counted = await services.census.last_count()
    return [
        {
            "alias": key.alias,
            "keyId": key.key_arn,
            "status": str(key.status),
            "mode": str(key.mode),
            "creationDate": rfc3339(key.created_at),
            "wallets": counted[key.key_arn].wallets if key.key_arn in counted else None,
        }
        for key in services.pool.keys
    ]


def _facts(out: Path, done: Exported) -> dict[str, Any]:
    return {
        "file": str(out),
        "events": done.events,
        "chains": done.chains,
        "intact": not done.findings,
        "findings": list(done.findings),
        "fingerprint": done.fingerprint,
        "verifierSha256": done.verifier_sha256,
    }


def _describe(out: Path, done: Exported) -> list[str]:
    signed = "not signed: AUDIT_SIGNING_KEY is not set"
    check = "python3 verify.py"
    held = f"{quantity(done.events, 'event', 'events')} in {quantity(done.chains, 'chain', 'chains')}"
    if done.fingerprint is not None:
        signed = f"signed by {done.fingerprint}"
        check += f" --fingerprint {done.fingerprint}"
    return [
        *done.findings,
        f"{out}: {held}, {signed}",
        f"SHA-256 of its verify.py: {done.verifier_sha256}",
        f"unpack it, and check it there with: {check}",
    ]
