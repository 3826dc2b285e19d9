"""Follows a rotation to its end: a live bar on a terminal, a line every few seconds elsewhere."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from kms_service.cli.lines import warn
from kms_service.cli.screen import progress_screen
from kms_service.errors import DatabaseUnavailable
from kms_service.quantity import quantity
from kms_service.service.rewrap.jobs import RewrapJobs
from kms_service.store.rewrap.jobs import RewrapJob

_LOOK_SECONDS = 0.5
_LINE_SECONDS = 5.0
_SECONDS_A_MINUTE = 60
_MINUTES_AN_HOUR = 60


async def follow(jobs: RewrapJobs, job: RewrapJob) -> RewrapJob:
    """Show a job on standard error until it has ended, and return the ended job.

    If the database is unavailable for a while, this waits for it.
    """
    latest = job
    with (_bar if progress_screen().is_terminal else _lines)(job) as show:
        async for latest in _poll(jobs, job):
            show(latest)
    return latest


def summary(job: RewrapJob) -> str:
    """A job in one line."""
    wallets = quantity(max(job.total, job.processed), "wallet", "wallets")
    parts = [f"{job.status}: {job.done:,} of {wallets} moved"]
    if job.dry_run:
        keys = quantity(len(job.destinations), "key", "keys")
        parts = [f"dry run: {quantity(job.total, 'wallet', 'wallets')} would move to {keys}"]
    parts += [
        f"{number:,} {word}" for number, word in ((job.failed, "failed"), (job.skipped, "skipped")) if number
    ]
    if job.rate > 0:
        parts.append(f"{job.rate:,.0f} a second")
    if job.eta_seconds is not None and job.live:
        parts.append(f"{_span(job.eta_seconds)} left")
    if job.last_error is not None:
        parts.append(f"last error: {job.last_error}")
    return ", ".join(parts)


@contextmanager
def _bar(job: RewrapJob) -> Iterator[Callable[[RewrapJob], None]]:
    columns = (
        TextColumn("{task.fields[status]}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=progress_screen(), transient=True) as progress:
        task = progress.add_task("", total=job.total, status=job.status, pace="")

        def show(now: RewrapJob) -> None:
            total = max(now.total, now.processed, 1)
            progress.update(task, total=total, completed=now.processed, status=now.status, pace=_pace(now))

        yield show


@contextmanager
def _lines(_job: RewrapJob) -> Iterator[Callable[[RewrapJob], None]]:
    due = 0.0

    def show(now: RewrapJob) -> None:
        nonlocal due
        if time.monotonic() >= due:
            warn(summary(now))
            due = time.monotonic() + _LINE_SECONDS

    yield show


async def _poll(jobs: RewrapJobs, job: RewrapJob) -> AsyncIterator[RewrapJob]:
    yield job
    while job.live:
        await asyncio.sleep(_LOOK_SECONDS)
        with suppress(DatabaseUnavailable):
            job = await jobs.find(job.rotation_id)
        yield job


def _pace(job: RewrapJob) -> str:
    failed = f"{job.failed:,} failed  " if job.failed else ""
    left = "" if job.eta_seconds is None else f"{_span(job.eta_seconds)} left"
    return f"{failed}{job.rate:,.0f}/s  {left}"


def _span(seconds: int) -> str:
    if seconds < _SECONDS_A_MINUTE:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, _SECONDS_A_MINUTE)
    if minutes < _MINUTES_AN_HOUR:
        return f"{minutes} min {seconds:02} s"
    hours, minutes = divmod(minutes, _MINUTES_AN_HOUR)
    return f"{hours} h {minutes:02} min"
