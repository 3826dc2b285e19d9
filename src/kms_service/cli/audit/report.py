"""`kms-service audit report`."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import click

from kms_service.bootstrap import Services
from kms_service.cli.audit.export import write_privately
from kms_service.cli.audit.heads import log_option, read_known_heads
from kms_service.cli.audit.progress import row_progress
from kms_service.cli.audit.reconcile import find_known_keys
from kms_service.cli.lines import tell
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.quantity import quantity
from kms_service.service.audit.verify import AuditReport
from kms_service.service.evidence.against_cloudtrail import Compared, Outcome
from kms_service.service.evidence.report import Check, Month, html, month_of

_DELIVERY = timedelta(minutes=15)
_FINDINGS = 20
_LOG = "Audit log"
_HEADS = "Heads outside the database"
_CLOUDTRAIL = "CloudTrail"


@click.command()
@click.option("--month", required=True, help="The month, such as 2026-11.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The HTML file to write.  [default: custody-2026-11.html in this folder]",
)
@click.option(
    "--cloudtrail",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="CloudTrail's files for the month, to reconcile the log with. May be repeated.",
)
@click.option(
    "--role", "principals", multiple=True, help="ARN of a role of the service, as for audit reconcile."
)
@log_option(", as for audit verify.")
@on_loop
async def report(
    month: str, out: Path | None, files: Sequence[Path], principals: Sequence[str], log: TextIO | None
) -> None:
    """Write a month of the log as a page to read.

    HTML that prints well: who released what how often, refusals, keys, rotations, the seal, canaries, and
    what was verified and what was not. The command verifies the log, and reconciles it with CloudTrail if you
    give its files. Exits 1 if a check failed.
    """
    wanted = month_of(month)
    async with operator_services() as services:
        heads, places = await read_known_heads(services, log)
        await services.pool.refresh()
        with row_progress("rows and calls", None, quiet=False) as on_done:
            if files:
                compared = Compared(
                    files=files,
                    since=wanted.since,
                    until=wanted.until,
                    delivery=_DELIVERY,
                    principals=principals,
                    administrators=(),
                    keys=await find_known_keys(services),
                    heads=heads,
                )
                outcome = await services.cloudtrail_reconciler.reconcile(compared, on_done)
                checks = [_log_check(outcome.verification), _cloudtrail_check(outcome)]
            else:
                verified = await services.verifier.verify(wanted.since, heads, on_done)
                checks = [_log_check(verified), Check(_CLOUDTRAIL, None, "no files of it were given")]
        checks.append(_heads_check(places))
        page = await _page(services, wanted, checks)
    path = out or Path(f"custody-{month}.html")
    with write_privately(path) as file:
        file.write(page.encode())
    failed = [check.name for check in checks if check.passed is False]
    tell(f"{path}: {wanted.name}, {'checks FAILED: ' + ', '.join(failed) if failed else 'no check failed'}")
    if failed:
        sys.exit(1)


async def _page(services: Services, month: Month, checks: Sequence[Check]) -> str:
    return html(await services.monthly_reports.collect(month, checks, operator(services).name))


def _log_check(verified: AuditReport) -> Check:
    says = f"{quantity(verified.rows, 'row', 'rows')} in {quantity(verified.chains, 'chain', 'chains')} "
    says += (
        "are as they were written." if verified.intact else "were read, and not all are as they were written."
    )
    findings = [finding.says for finding in verified.findings]
    return Check(_LOG, verified.intact, says, findings[:_FINDINGS], verified.found)


def _cloudtrail_check(outcome: Outcome) -> Check:
    done = outcome.reconciliation
    calls, files = quantity(done.calls, "call", "calls"), quantity(outcome.files, "file", "files")
    unexplained = f"{quantity(done.found, 'finding has', 'findings have')} no explanation."
    says = f"Compared with the log: {calls} in {files}; {unexplained if done.found else 'all are explained.'}"
    findings = [finding.says for finding in done.findings[:_FINDINGS]]
    return Check(_CLOUDTRAIL, not done.found, says, findings, done.found)


def _heads_check(places: str | None) -> Check:
    if places is not None:
        return Check(_HEADS, True, f"{places}: compared with the log while it was verified.")
    return Check(_HEADS, None, "none were given, so an end that was cut off would not show")
