"""`kms-service rotation`: move wallets between keys, from a terminal."""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import click

from kms_service.access.scopes import Caller
from kms_service.api.operations.rotations import FAILURES_SHOWN, details_view, job_view
from kms_service.bootstrap import Services
from kms_service.cli.lines import tell
from kms_service.cli.process.command import operator, operator_services
from kms_service.cli.process.loop import on_loop, stop_on_sigterm
from kms_service.cli.rewrap.progress import follow, summary
from kms_service.cli.times import Moment
from kms_service.errors import RewrapJobNotFound
from kms_service.service.rewrap.jobs import DEFAULT_RATE, MAX_RATE, RewrapJobs, RewrapRequest
from kms_service.store.rewrap.jobs import RewrapJob, RewrapStatus

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, in the shape of GET /rotations.")
_rotation_id = click.argument("rotation_id", required=False, type=click.UUID)


@click.group()
def rotation() -> None:
    """Move wallets from some KMS keys to others with kms:ReEncrypt, without any plaintext."""


@rotation.command()
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="KEY",
    help="A key to empty: ARN or alias; repeat for several.",
)
@click.option(
    "--wrapped-before",
    type=Moment(),
    help="Instead of --from: all wallets that were wrapped before this time (UTC).",
)
@click.option(
    "--to",
    "destinations",
    multiple=True,
    metavar="ALIAS",
    help="A destination; repeat for several.  [default: all active keys]",
)
@click.option("--dry-run/--no-dry-run", default=True, show_default=True, help="Count, and change nothing.")
@click.option(
    "--rate",
    type=click.FloatRange(1, MAX_RATE),
    default=DEFAULT_RATE,
    show_default=True,
    help="KMS calls a second, for all workers together.",
)
@_as_json
@on_loop
async def start(
    sources: tuple[str, ...],
    wrapped_before: datetime | None,
    destinations: tuple[str, ...],
    *,
    dry_run: bool,
    rate: float,
    as_json: bool,
) -> None:
    """Start a rotation; by default only count what it would move.

    Workers move the wallets: every serving process has one, and `kms-service rotation run` adds another. One
    rotation runs at a time. First drain the keys that you want to empty, so that they get no new wallets.
    """
    if bool(sources) == (wrapped_before is not None):
        raise click.UsageError("Give either --from or --wrapped-before.")
    asked = RewrapRequest(sources or None, wrapped_before, destinations or None, dry_run, rate)
    async with operator_services() as services:
        await services.pool_service.refresh()
        _print(await services.rewrap_jobs.start(operator(services), asked), as_json=as_json)


@rotation.command(name="list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@_as_json
@on_loop
async def list_rotations(limit: int, *, as_json: bool) -> None:
    """List the last rotations, newest first."""
    async with operator_services() as services:
        jobs = await services.rewrap_jobs.newest(limit)
    if as_json:
        tell(json.dumps([job_view(job).model_dump(by_alias=True, mode="json") for job in jobs]))
        return
    for job in jobs:
        tell(f"{job.created_at:%Y-%m-%d %H:%M} {job.rotation_id} {summary(job)}")


@rotation.command()
@_rotation_id
@click.option("--watch", is_flag=True, help="Show progress until it ends.")
@_as_json
@on_loop
async def status(rotation_id: UUID | None, *, watch: bool, as_json: bool) -> None:
    """Show a rotation, by default the last one.

    Lists the first wallets that it could not move.
    """
    async with operator_services() as services:
        job = await _choose(services, rotation_id)
        if watch:
            job = await follow(services.rewrap_jobs, job)
        failures = await services.rewrap_jobs.failures(job.rotation_id, limit=FAILURES_SHOWN, after="")
    if as_json:
        tell(details_view(job, failures).model_dump_json(by_alias=True))
        return
    _print(job, as_json=False)
    for failure in failures:
        tell(f"  {failure.user_id}  {failure.code}: {failure.reason}")


@rotation.command()
@_rotation_id
@_as_json
@on_loop
async def pause(rotation_id: UUID | None, *, as_json: bool) -> None:
    """Pause the workers within seconds; nothing is lost."""
    await _steer(rotation_id, RewrapJobs.pause, as_json=as_json)


@rotation.command()
@_rotation_id
@_as_json
@on_loop
async def resume(rotation_id: UUID | None, *, as_json: bool) -> None:
    """Let the workers continue where they stopped."""
    await _steer(rotation_id, RewrapJobs.resume, as_json=as_json)


@rotation.command()
@_rotation_id
@_as_json
@on_loop
async def cancel(rotation_id: UUID | None, *, as_json: bool) -> None:
    """End a rotation; moved wallets stay moved."""
    await _steer(rotation_id, RewrapJobs.cancel, as_json=as_json)


@rotation.command()
@click.option(
    "--at-once", type=click.IntRange(1, 256), default=32, show_default=True, help="KMS calls in flight."
)
@_as_json
@on_loop
async def run(at_once: int, *, as_json: bool) -> None:
    """Run a worker until the current rotation ends.

    Any number of workers share one rotation, on any machines. If a worker is killed, another takes over its
    work within a minute, or at once after SIGTERM or Ctrl-C. Exits 1 if the rotation did not end as
    completed, 130 if stopped.
    """
    stop_on_sigterm()
    async with operator_services(rotation_worker_enabled=True, rotation_calls_in_flight=at_once) as services:
        job = await services.rewrap_jobs.find_live()
        if job is None:
            raise RewrapJobNotFound(
                "no rotation is running; start one with kms-service rotation start --no-dry-run"
            )
        await services.pool_service.refresh()
        services.start()
        job = await follow(services.rewrap_jobs, job)
    _print(job, as_json=as_json)
    if job.status is not RewrapStatus.COMPLETED:
        raise click.exceptions.Exit(1)


async def _steer(
    rotation_id: UUID | None,
    act: Callable[[RewrapJobs, Caller, UUID], Awaitable[RewrapJob]],
    *,
    as_json: bool,
) -> None:
    async with operator_services() as services:
        await services.pool_service.refresh()
        chosen = await _choose(services, rotation_id)
        job = await act(services.rewrap_jobs, operator(services), chosen.rotation_id)
    _print(job, as_json=as_json)


async def _choose(services: Services, rotation_id: UUID | None) -> RewrapJob:
    if rotation_id is not None:
        return await services.rewrap_jobs.find(rotation_id)
    job = await services.rewrap_jobs.find_live() or next(iter(await services.rewrap_jobs.newest(1)), None)
    if job is None:
        raise RewrapJobNotFound("there is no rotation yet")
    return job


def _print(job: RewrapJob, *, as_json: bool) -> None:
    if as_json:
        tell(job_view(job).model_dump_json(by_alias=True))
    else:
        tell(f"{job.rotation_id} {summary(job)}")
