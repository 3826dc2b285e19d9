"""`kms-service audit verify|list`, and the group of the other audit commands."""

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

import click

from kms_service.api.operations.audit import event_view
from kms_service.cli.audit.export import export, release_mac_keys
from kms_service.cli.audit.heads import log_option, read_known_heads
from kms_service.cli.audit.progress import row_progress
from kms_service.cli.audit.reconcile import reconcile
from kms_service.cli.audit.report import report as report_command
from kms_service.cli.lines import tell
from kms_service.cli.process.command import key_arn, operator_services
from kms_service.cli.process.loop import on_loop
from kms_service.cli.times import Moment
from kms_service.quantity import quantity
from kms_service.service.audit.verify import AuditReport
from kms_service.service.audit.walk import Finding
from kms_service.store.audit.trail import EventFilter, StoredRow

_UNKNOWN = (
    "no head outside the database is known, so nobody can tell what came before the log's first row, "
    "or was cut off after a last one"
)


@click.group()
def audit() -> None:
    """Verify, read, export and reconcile the audit log."""


audit.add_command(export)
audit.add_command(release_mac_keys)
audit.add_command(reconcile)
audit.add_command(report_command)


@audit.command()
@click.option("--since", type=Moment(), help="Check only rows from this time on; RFC 3339, or 24h, 7d.")
@log_option(": its audit_head events reveal a truncated chain.")
@click.option(
    "--no-heads",
    is_flag=True,
    help="Verify without heads; then a log that was started anew passes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def verify(since: datetime | None, log: TextIO | None, *, no_heads: bool, as_json: bool) -> None:
    """Verify every chain of the audit log.

    Names the first row of each chain that is not as it was written. Needs to read the audit tables, and
    kms:Decrypt with the context purpose=audit-chain. Heads come from --heads and from the location that
    AUDIT_HEADS_URL names. Exits 1 if a row was changed, removed, inserted or reordered, if a chain cannot be
    checked, or if no head is known and --no-heads is not given.
    """
    if no_heads and log is not None:
        raise click.UsageError("--no-heads and --heads exclude each other")
    async with operator_services() as services:
        heads, places = ({}, None) if no_heads else await read_known_heads(services, log)
        total = await services.verifier.expected_rows() if since is None else None
        with row_progress("audit rows", total, quiet=as_json) as on_rows:
            report = await services.verifier.verify(since, heads, on_rows)
    told = _Heads(len(heads), places if heads else None, wanted=not no_heads)
    tell(*([json.dumps(_facts(report, told))] if as_json else _describe(report, told)))
    if not report.intact or told.missing:
        sys.exit(1)


@audit.command(name="list")
@click.option("--user", "user_id", help="Only events of this user's wallet.")
@click.option("--actor", help="Only what this token or operator did.")
@click.option("--action", help="Only this action, such as private_key.read.")
@click.option("--outcome", help="Only this outcome: ok, or an error code such as kms_key_unusable.")
@click.option("--key", help="Only events about wallets under this key: ARN or alias.")
@click.option("--since", type=Moment(), help="Only from this time on; RFC 3339, or 24h, 7d.")
@click.option("--until", type=Moment(), help="Only before this time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a line, as in GET /audit/events."
)
@on_loop
async def list_events(key: str | None, limit: int, *, as_json: bool, **wanted: Any) -> None:
    """List audit events, newest first."""
    async with operator_services() as services:
        chosen = EventFilter(**wanted, kms_key_id=await key_arn(services, key))
        async for stored in services.audit_trail.newest(chosen, limit):
            tell(event_view(stored).model_dump_json(by_alias=True) if as_json else _event_line(stored))


@dataclass(frozen=True, slots=True)
class _Heads:
    count: int
    places: str | None
    wanted: bool

    @property
    def missing(self) -> bool:
        return self.wanted and not self.count

    @property
    def says(self) -> str:
        if self.count:
            return f"{quantity(self.count, 'head was', 'heads were')} compared, from {self.places}"
        advice = "; give --heads, set AUDIT_HEADS_URL, or accept it with --no-heads" if self.wanted else ""
        return f"{_UNKNOWN}{advice}"


def _describe(report: AuditReport, heads: _Heads) -> list[str]:
    lines = [finding.says for finding in report.findings]
    if report.found > len(lines):
        lines.append(f"{quantity(report.found - len(lines), 'more is', 'more are')} not listed")
    rows = f"{quantity(report.rows, 'row', 'rows')} in {quantity(report.chains, 'chain', 'chains')}"
    lines.append(f"{rows}: {_verdict(report)}")
    if report.unclosed:
        unclosed = quantity(report.unclosed, "chain has", "chains have")
        lines.append(f"{unclosed} no closing row (processes running or killed)")
    lines.append(heads.says)
    return lines


def _verdict(report: AuditReport) -> str:
    if report.intact:
        return "as they were written"
    return f"{quantity(report.found, 'chain is NOT as it was', 'chains are NOT as they were')} written"


def _facts(report: AuditReport, heads: _Heads) -> dict[str, Any]:
    return {
        "intact": report.intact,
        "chains": report.chains,
        "rows": report.rows,
        "unclosed": report.unclosed,
        "heads": heads.count,
        "headsFrom": heads.places,
        "found": report.found,
        "findings": [_finding_facts(finding) for finding in report.findings],
    }


def _finding_facts(finding: Finding) -> dict[str, Any]:
    return {
        "fault": finding.kind.value,
        "chain": None if finding.audit_chain_id is None else str(finding.audit_chain_id),
        "number": finding.number,
        "seq": finding.seq,
        "id": finding.row_id,
        "says": finding.says,
    }


def _event_line(stored: StoredRow) -> str:
    row, event = stored.row, stored.row.event
    at = f"{row.at:%Y-%m-%d %H:%M:%S}"
    about = event.user_id or event.detail or ""
    return f"{stored.id:>9}  {at}  {row.actor:<20} {event.action:<20} {event.outcome:<18} {about}"
