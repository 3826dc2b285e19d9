"""A progress bar for work on rows or calls: on standard error, and only if that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kms_service.cli.screen import progress_screen


@contextmanager
def row_progress(name: str, total: int | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A function to call with the number done since its last call; `total` is None if it is unknown."""
    console = progress_screen()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    disable = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as progress:
        task = progress.add_task(name, total=total)
        yield lambda done: progress.advance(task, done)
