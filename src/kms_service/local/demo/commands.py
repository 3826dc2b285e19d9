"""Runs the demo's commands in processes forked from one that has imported them.

So each answers at once. A new interpreter would first import, for a second, what the one before had imported.
"""

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, get_context

# With it comes nearly everything that the other commands import.
_IMPORTED = ["kms_service.cli.pool.group"]

_processes = get_context("forkserver")


def load() -> None:
    """Begin to import what the commands need, in a process that ends with this one."""
    _processes.set_forkserver_preload(_IMPORTED)
    forkserver.ensure_running()


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run `kms-service` with these arguments to its end, and return the exit code.

    Args:
        words: behind `kms-service`.
        environ: its whole environment.
    """
    process = _processes.Process(target=_run, args=(list(words), dict(environ)))
    process.start()
    try:
        process.join()
    finally:
        process.kill()  # if a signal stops the demo
        process.join()
    code = process.exitcode
    assert code is not None  # noqa: S101 # narrows: it was joined
    return code


def _run(words: list[str], environ: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["kms-service", *words]
    runpy.run_module("kms_service", run_name="__main__")
