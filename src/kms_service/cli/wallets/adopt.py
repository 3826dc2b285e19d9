"""`kms-service adopt`: take over the wallets of the ported service."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kms_service.cli.lines import tell, warn
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop, stop_on_sigterm
from kms_service.cli.screen import progress_screen, safe_text
from kms_service.crypto.material import DEK_BYTES, DataKey
from kms_service.service.adoption.adopt import CAN_BE_ADOPTED, Adopted, Adoption, Outcome, ShowAdoption
from kms_service.service.adoption.encrypted_phrase import Layout
from kms_service.service.adoption.session import adopting
from kms_service.store.adoption.source import source_table
from kms_service.telemetry import logs

_LINE_SECONDS = 5.0
_FINE = (Outcome.ADOPTED, Outcome.ALREADY_HERE)


class _MasterKey(click.ParamType[DataKey]):
    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> DataKey:
        try:
            return DataKey(bytes.fromhex(Path(str(value)).read_text(encoding="ascii").strip()))
        except (OSError, ValueError):
            # from None: the error of a wrong digit quotes it.
            message = f"must be a file with {2 * DEK_BYTES} hex digits"
            raise click.BadParameter(message, ctx=ctx, param=param) from None


@click.command()
@click.option(
    "--from", "url", required=True, envvar="ADOPT_FROM_URL", show_envvar=True, metavar="URL",
    help="postgresql://… of the other service's database; read only.",
)  # fmt: skip
@click.option("--schema", default="public", show_default=True)
@click.option("--table", default="wallets", show_default=True)
@click.option("--region", help="Region of the other service's KMS keys.  [default: AWS_REGION]")
@click.option(
    "--layout", type=click.Choice([each.value for each in Layout]), default="auto", show_default=True,
    help="The layout in which the other service stored its phrases.",
)  # fmt: skip
@click.option("--master-kek-file", type=_MasterKey(), help="MASTER_KEK in hex, for rows older than KMS.")
@click.option("--rate", type=click.FloatRange(min=0.1), help="Wallets a second, at most.")
@click.option(
    "--at-once", type=click.IntRange(1, 256), default=32, show_default=True, help="Wallets at a time."
)
@click.option("--after", metavar="USER", help="Continue after this user id.")
@click.option(
    "--dry-run/--no-dry-run", default=True, show_default=True, help="Open and check, write nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def adopt(
    *,
    url: str,
    schema: str,
    table: str,
    region: str | None,
    layout: str,
    master_kek_file: DataKey | None,
    rate: float | None,
    at_once: int,
    after: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take over the wallets of the service that this one ports; its table is only read.

    Each wallet is unwrapped under the KMS key that its row names, opened, derived and compared with its row,
    then encrypted again under a key of the pool and stored with an audit row. Wallets that are already here
    are skipped, so you can repeat a run that was stopped or killed, and run several in parallel.

    Without --no-dry-run everything is opened and checked, and nothing is written. Exits 0 only if every
    wallet is here, 1 if any is left or wrong, 130 if stopped.
    """
    stop_on_sigterm()
    async with operator_services(max_in_flight=2 * at_once) as services:
        await services.pool_service.refresh()
        # Every failure is reported below, so log lines about it would only be in the way.
        logs.configure_for_command("CRITICAL", services.settings.log_format)
        latest = _Latest()
        with suppress(asyncio.CancelledError), _show_progress() as report:
            async with (
                source_table(url, schema, table) as source,
                adopting(
                    services.settings,
                    services.keeper,
                    region=region or services.settings.aws_region,
                    layout=Layout(layout),
                    master_key=master_kek_file,
                ) as adopter,
            ):
                latest.run = await adopter.run(
                    operator(services),
                    source,
                    after=after,
                    at_once=at_once,
                    rate_per_second=rate,
                    dry_run=dry_run,
                    report=latest.then(report),
                )
    _conclude(latest.run, dry_run=dry_run, as_json=as_json)


class _Latest:
    """How far a run was when it ended or was stopped."""

    def __init__(self) -> None:
        self.run = Adoption(0)

    def then(self, report: ShowAdoption) -> ShowAdoption:
        """A report that notes the run and passes it on."""

        def note(run: Adoption, found: Sequence[Adopted]) -> None:
            self.run = run
            report(run, found)

        return note


def _conclude(run: Adoption, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        tell(json.dumps(_facts(run, dry_run=dry_run)))
    else:
        for outcome in Outcome:
            tell(f"{run.counts[outcome]:>12,}  {outcome.value}")
        if run.done and run.keys_used:
            named = " ".join(f"--adopted-from {key}" for key in run.keys_used)
            tell(f"Detach the policy that lets this role unwrap. To check: kms-service pool doctor {named}")
        if dry_run and run.complete:
            tell("Nothing was written. --no-dry-run adopts what can be.")
    if not run.complete:
        if not as_json:
            tell(f"Stopped. Continue with: --after {run.cursor!r}" if run.cursor else "Stopped.")
        raise click.exceptions.Exit(130)
    if not run.done:
        raise click.exceptions.Exit(1)


def _facts(run: Adoption, *, dry_run: bool) -> dict[str, Any]:
    return {
        "complete": run.complete,
        "dryRun": dry_run,
        "total": run.total,
        "passed": run.passed,
        "adopted": run.counts[Outcome.ADOPTED],
        "alreadyHere": run.counts[Outcome.ALREADY_HERE],
        "otherAddress": run.counts[Outcome.OTHER_ADDRESS],
        "doesNotOpen": run.counts[Outcome.UNREADABLE],
        "left": run.counts[Outcome.LEFT],
        "keysUsed": run.keys_used,
        "cursor": run.cursor,
        "wallets": [
            {"userId": each.user_id, "outcome": each.outcome.value, "reason": each.reason}
            for each in run.named
        ],
    }


@contextmanager
def _show_progress() -> Iterator[ShowAdoption]:
    screen = progress_screen()
    with _bar() if screen.is_terminal else _lines() as report:
        yield report


@contextmanager
def _bar() -> Iterator[ShowAdoption]:
    columns = (
        TextColumn("adopting"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("{task.fields[wrong]} to look at"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=progress_screen(), transient=True) as progress:
        task = progress.add_task("", total=None, wrong=0, visible=False)

        def report(run: Adoption, found: Sequence[Adopted]) -> None:
            for line in _lines_of(found):
                progress.console.print(safe_text(line, "red"))
            total = max(run.total, run.passed)
            progress.update(task, total=total, completed=run.passed, wrong=len(run.named), visible=True)

        yield report


@contextmanager
def _lines() -> Iterator[ShowAdoption]:
    started = due = time.monotonic()

    def report(run: Adoption, found: Sequence[Adopted]) -> None:
        nonlocal due
        for line in _lines_of(found):
            warn(line)
        now = time.monotonic()
        if now >= due:
            pace = run.passed / max(now - started, 0.001)
            left = max(0, run.total - run.passed) / max(pace, 0.001)
            warn(f"{run.passed:,} of {run.total:,} checked, {pace:,.0f} a second, {left:,.0f} s left")
            due = now + _LINE_SECONDS

    yield report


def _lines_of(found: Sequence[Adopted]) -> Iterator[str]:
    for each in found:
        if each.outcome not in _FINE and each.reason != CAN_BE_ADOPTED:
            yield f"{each.user_id}  {each.outcome.value}: {each.reason}"
