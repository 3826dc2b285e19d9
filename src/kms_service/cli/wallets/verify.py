"""`kms-service verify`: test a restored backup, or the result of a rotation."""

import asyncio
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kms_service.cli.lines import tell, warn
from kms_service.cli.process.command import key_arn, operator, operator_services
from kms_service.cli.process.loop import on_loop, stop_on_sigterm
from kms_service.cli.screen import progress_screen, safe_text
from kms_service.cli.times import Moment
from kms_service.quantity import quantity
from kms_service.service.wallets.verify import ShowVerification, Verification, WalletFailure
from kms_service.store.wallets.walk import Chosen
from kms_service.telemetry import logs

_LINE_SECONDS = 5.0


class _Share(click.ParamType[float]):
    name = "percentage"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)%", str(value))
        share = float(match[1]) / 100 if match else 0.0
        if not 0 < share <= 1:
            self.fail("must look like 1% or 0.1%", param, ctx)
        return share


@click.command()
@click.option("--sample", type=_Share(), default="100%", show_default=True, help="Open only a random share.")
@click.option("--key", help="Only wallets under this key: ARN or alias.")
@click.option("--since", type=Moment(), help="Only wallets created or wrapped since; RFC 3339, or 24h, 7d.")
@click.option("--after", default="", metavar="USER", help="Continue after this user id.")
@click.option(
    "--at-once", type=click.IntRange(1, 256), default=16, show_default=True, help="Wallets at a time."
)
@click.option("--rate", type=click.FloatRange(min=0.1), help="Wallets a second, at most.")
@click.option("--authenticate", is_flag=True, help="Add missing MACs, and renew those under an older key.")
@click.option("--region", metavar="NAME", help="Call KMS only in this Region, as a drill for the second one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def verify(
    sample: float,
    key: str | None,
    since: datetime | None,
    after: str,
    at_once: int,
    rate: float | None,
    region: str | None,
    *,
    authenticate: bool,
    as_json: bool,
) -> None:
    """Open every stored wallet, derive its address again, check its MAC, and release nothing.

    Also names wallets without an audit row of their creation, and such rows without their wallet (not with
    --key). Makes one kms:Decrypt for each wallet, and one audit row for the run. Failures are printed as they
    are found. After Ctrl-C it says how to continue. Exits 1 if anything is wrong, 130 if stopped.

    Use --authenticate once after an upgrade from a version without MACs, because no address is returned
    without one. After a rotation it moves the MACs to the newest key; the older ones stay valid.

    --region proves that wallets would open if every other Region were down: that Region also unwraps the keys
    of row MACs and of the run's own audit chain. Wallets under single-Region keys of other Regions fail.
    """
    stop_on_sigterm()
    # One key gets half of the places, so twice as many are needed.
    async with operator_services(region, max_in_flight=2 * at_once) as services:
        await services.pool_service.refresh()
        # Every failure is reported below, so log lines about it would only be in the way.
        logs.configure_for_command("CRITICAL", services.settings.log_format)
        chosen = Chosen(await key_arn(services, key), since, sample)
        last = Verification(0, after)

        def remember(run: Verification, failures: Sequence[WalletFailure]) -> None:
            nonlocal last
            last = run
            report(run, failures)

        with suppress(asyncio.CancelledError), _show_progress() as report:
            last = await services.wallet_verifier.verify(
                operator(services),
                chosen,
                after=after,
                at_once=at_once,
                rate_per_second=rate,
                authenticate=authenticate,
                report=remember,
            )
    _conclude(last, as_json=as_json)


def _conclude(run: Verification, *, as_json: bool) -> None:
    if as_json:
        tell(json.dumps(_facts(run)))
    else:
        opened = quantity(run.opened, "wallet", "wallets")
        tell(f"{opened} opened, {run.failed:,} failed, {run.passed:,} of {run.total:,} checked.")
        if run.authenticated:
            tell(f"{quantity(run.authenticated, 'wallet', 'wallets')} got a MAC.")
        if run.unreconciled:
            one, many = "wallet or row of the audit log does", "wallets and rows of the audit log do"
            tell(f"{quantity(run.unreconciled, one, many)} not match.")
        if not run.complete:
            tell(f"Stopped. Continue with: --after {run.cursor!r}")
    if not run.complete:
        raise click.exceptions.Exit(130)
    if run.failed or run.unreconciled:
        raise click.exceptions.Exit(1)


def _facts(run: Verification) -> dict[str, Any]:
    return {
        "complete": run.complete,
        "total": run.total,
        "passed": run.passed,
        "opened": run.opened,
        "failed": run.failed,
        "authenticated": run.authenticated,
        "unreconciled": run.unreconciled,
        "cursor": run.cursor,
        "failures": [
            {"userId": each.user_id, "kmsKeyId": each.kms_key_id, "code": each.code, "reason": each.reason}
            for each in run.failures
        ],
    }


@contextmanager
def _show_progress() -> Iterator[ShowVerification]:
    screen = progress_screen()
    show = _bar() if screen.is_terminal else _lines()
    with show as report:
        yield report


@contextmanager
def _bar() -> Iterator[ShowVerification]:
    columns = (
        TextColumn("verifying"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=progress_screen(), transient=True) as progress:
        task = progress.add_task("", total=None, failed=0, visible=False)

        def report(run: Verification, failures: Sequence[WalletFailure]) -> None:
            for failure in failures:
                progress.console.print(safe_text(_line(failure), "red"))
            progress.update(
                task, total=max(run.total, run.passed), completed=run.passed, failed=run.failed, visible=True
            )

        yield report


@contextmanager
def _lines() -> Iterator[ShowVerification]:
    started = due = time.monotonic()

    def report(run: Verification, failures: Sequence[WalletFailure]) -> None:
        nonlocal due
        for failure in failures:
            warn(_line(failure))
        now = time.monotonic()
        if now >= due:
            pace = run.passed / max(now - started, 0.001)
            warn(f"{run.passed:,} of {run.total:,} checked, {run.failed:,} failed, {pace:,.0f} a second")
            due = now + _LINE_SECONDS

    yield report


def _line(failure: WalletFailure) -> str:
    under = f"  under {failure.kms_key_id}" if failure.kms_key_id else ""
    return f"{failure.user_id}  {failure.code}: {failure.reason}{under}"
