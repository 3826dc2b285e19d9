"""`kms-service pool doctor`."""

import json
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial

import click
from rich.text import Text

from kms_service.bootstrap import build
from kms_service.cli.lines import tell
from kms_service.cli.process.loop import on_loop
from kms_service.cli.screen import safe_text, screen
from kms_service.kms.control_plane.administration import in_each_region
from kms_service.kms.control_plane.client import ControlPlane
from kms_service.kms.control_plane.identity import caller_identity
from kms_service.kms.control_plane.inspection import Inspection
from kms_service.service.pool.doctor import NEEDS, Check, CheckResult, Doctor, Duty
from kms_service.service.pool.drift import RegionComparison
from kms_service.settings import Settings, load_settings
from kms_service.telemetry import logs
from kms_service.telemetry.printable import printable

_MARKS = {CheckResult.GOOD: ("✓", "green"), CheckResult.BAD: ("✗", "red"), CheckResult.SKIPPED: ("-", "dim")}


@click.command()
@click.option(
    "--duty",
    "duties",
    multiple=True,
    type=click.Choice(list(Duty), case_sensitive=False),
    default=[Duty.CREATE, Duty.REVEAL],
    show_default=True,
    help="What these credentials are for: they must be allowed this, and nothing else. Repeat for several.",
)
@click.option(
    "--adopted-from",
    multiple=True,
    metavar="KEY",
    help="ARN of a key of the adopted service that this role must no longer use. Repeat for several.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_loop
async def doctor(duties: tuple[Duty, ...], adopted_from: tuple[str, ...], *, as_json: bool) -> None:
    """Check everything that serving needs.

    Credentials, endpoint, clocks, every key with its rotation and policy, and the database. Permissions are
    checked with KMS's dry runs, so nothing is encrypted or decrypted. Exits 0 only if every check passes,
    else 1, with advice under each failed check.

    With KMS_FALLBACK_REGION, each key is compared with its replica there: alias, state, rotation, and, if
    these credentials may read them, policy and tags.
    """
    settings = load_settings()
    logs.configure_for_command("ERROR", settings.log_format)
    services = build(settings)
    inspection = Inspection(ControlPlane(settings))
    identify = partial(caller_identity, settings)
    pool = Doctor(settings, identify, inspection, services.pool, services.database, duties, adopted_from)
    try:
        checks = []
        for examined in (pool.examine(), _compare_regions(settings, duties)):
            async for check in examined:
                checks.append(check)
                if not as_json:
                    _show(check)
    finally:
        await services.close()
    if as_json:
        tell(json.dumps([_facts(check) for check in checks]))
    if any(check.result is CheckResult.BAD for check in checks):
        sys.exit(1)


async def _compare_regions(settings: Settings, duties: Sequence[Duty]) -> AsyncIterator[Check]:
    elsewhere = settings.in_fallback_region
    if elsewhere is None:
        return
    home, there = in_each_region(settings)
    needed = list(dict.fromkeys(action for duty in duties for action in NEEDS[duty]))
    comparison = RegionComparison(home, there, Inspection(ControlPlane(elsewhere)), needed)
    async for check in comparison.examine(settings.aliases):
        yield check


def _show(check: Check) -> None:
    mark, color = _MARKS[check.result]
    console = screen()
    console.print(
        Text.assemble((mark, color), f" {check.name:<28} ", printable(check.detail)), soft_wrap=True
    )
    if check.advice:
        console.print(safe_text(f"    {check.advice}", "yellow"), soft_wrap=True)


def _facts(check: Check) -> dict[str, str]:
    return {"name": check.name, "finding": check.result, "detail": check.detail, "advice": check.advice}
