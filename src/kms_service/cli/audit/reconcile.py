"""`kms-service audit reconcile`."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import click

from kms_service.bootstrap import Services
from kms_service.cli.audit.heads import log_option, read_known_heads
from kms_service.cli.audit.progress import row_progress
from kms_service.cli.lines import tell
from kms_service.cli.process.command import operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.cli.times import Moment, Span
from kms_service.quantity import quantity
from kms_service.service.evidence.against_cloudtrail import Compared, Outcome
from kms_service.service.evidence.reconcile import Unexplained

_SHOWN = 50


@click.command()
@click.option(
    "--cloudtrail",
    "files",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="A CloudTrail file, or a folder of them as in S3; may be repeated.",
)
@click.argument("more_files", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@click.option(
    "--since", type=Moment(), help="Only calls from this time on.  [default: the first in the files]"
)
@click.option("--until", type=Moment(), help="Only calls before this time.")
@click.option(
    "--role",
    "principals",
    multiple=True,
    help="ARN of a role of the service or its commands, * for anything; those whose calls our rows tell of, "
    "unless told. May be repeated.",
)
@click.option(
    "--administrator",
    "administrators",
    multiple=True,
    help="ARN of a principal that may change key policies.",
)
@click.option("--key", "keys", multiple=True, help="ARN of a former key of ours that no row names now.")
@click.option(
    "--delivery", type=Span(), default="15m", show_default=True, help="How late CloudTrail may deliver."
)
@log_option(", as for audit verify.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def reconcile(
    files: Sequence[Path],
    more_files: Sequence[Path],
    until: datetime | None,
    keys: Sequence[str],
    delivery: timedelta,
    log: TextIO | None,
    *,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Explain every use of our KMS keys in CloudTrail.

    Compares CloudTrail with the audit log, in both directions. Names each Decrypt of a wallet that no row
    explains, with who did it, from where and when; each row whose request CloudTrail does not have; and
    everybody who uses our keys without one of the service's roles. The service's own role cannot change
    CloudTrail, so start here if you suspect a theft. Exits 1 if anything is unexplained, or if the log is not
    as it was written.
    """
    async with operator_services() as services:
        heads, _ = await read_known_heads(services, log)
        compared = Compared(
            files=[*files, *more_files],
            until=until,
            delivery=delivery,
            keys=[*keys, *await find_known_keys(services)],
            heads=heads,
            **wanted,
        )
        with row_progress("calls and rows", None, quiet=as_json) as on_done:
            outcome = await services.cloudtrail_reconciler.reconcile(compared, on_done)
    tell(*([json.dumps(reconciliation_facts(outcome))] if as_json else _describe(outcome)))
    if not outcome.explained:
        sys.exit(1)


async def find_known_keys(services: Services) -> list[str]:
    """ARNs of all keys of the pool, and of those that have wallets or were used."""
    await services.pool.refresh()
    in_pool = [key.key_arn for key in services.pool.keys if key.key_arn is not None]
    return [*in_pool, *await services.census.last_count()]


def reconciliation_facts(outcome: Outcome) -> dict[str, Any]:
    """What `--json` prints."""
    done = outcome.reconciliation
    return {
        "explained": outcome.explained,
        "logIntact": outcome.verification.intact,
        "logFindings": [finding.says for finding in outcome.verification.findings],
        "since": done.window.since.isoformat(),
        "until": done.window.until.isoformat(),
        "rowsUntil": done.window.rows_until.isoformat(),
        "files": outcome.files,
        "recorded": outcome.recorded,
        "calls": done.calls,
        "explainedBy": {how.value: count for how, count in sorted(done.explained.items())},
        "principals": sorted(done.principals),
        "unexplained": done.found,
        "findings": [_finding_facts(finding) for finding in done.findings],
    }


def _finding_facts(finding: Unexplained) -> dict[str, Any]:
    call, row = finding.call, finding.row
    return {
        "trouble": finding.trouble.value,
        "says": finding.says,
        "at": None if call is None else call.at.isoformat(),
        "operation": None if call is None else call.operation,
        "walletAddress": (call and call.wallet_address) or (row and row.wallet_address) or None,
        "kmsKeyId": (call and call.key) or (row and row.kms_key_id) or None,
        "principal": None if call is None else call.principal,
        "session": None if call is None else call.session,
        "accessKeyId": None if call is None else call.access_key,
        "sourceIp": None if call is None else call.source_ip,
        "userAgent": None if call is None else call.user_agent,
        "error": None if call is None else call.error,
        "kmsRequestId": call.request_id if call is not None else row and row.request_id,
        "eventId": None if call is None else call.event_id,
        "row": None if row is None else row.id,
        "actor": None if row is None else row.actor,
        "action": None if row is None else row.action,
    }


def _describe(outcome: Outcome) -> list[str]:
    done = outcome.reconciliation
    lines = [finding.says for finding in outcome.verification.findings]
    lines += [f"{finding.trouble.value}: {finding.says}" for finding in done.findings[:_SHOWN]]
    if done.found > _SHOWN:
        lines.append(f"{done.found - _SHOWN} more; --json tells of up to a thousand")
    lines += [
        f"{count:>9,} {'call is' if count == 1 else 'calls are'} explained by {how.value}"
        for how, count in sorted(done.explained.items())
    ]
    window = f"from {done.window.since:%Y-%m-%d %H:%M:%S} UTC"
    if done.window.until < datetime.now(UTC):
        window += f" until {done.window.until:%Y-%m-%d %H:%M:%S} UTC"
    calls = quantity(done.calls, "call", "calls")
    files = quantity(outcome.files, "file", "files")
    lines.append(f"{calls} about our keys in {files}, {window}: {_verdict(outcome)}")
    if done.principals:
        lines.append(f"the service's roles: {', '.join(sorted(done.principals))}")
    return lines


def _verdict(outcome: Outcome) -> str:
    if outcome.explained:
        return "all explained"
    broken = "" if outcome.verification.intact else ", and the log is NOT as it was written"
    return f"{quantity(outcome.reconciliation.found, 'finding is', 'findings are')} UNEXPLAINED{broken}"
