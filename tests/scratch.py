"""Where tests keep their files: in memory if there is room, since they make a thousand databases.

On a disk, each database takes ten times the CPU time that it takes in memory, and ten times the waiting.
"""

import os
from pathlib import Path

import psutil

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes folders in it that nobody else may read
_ROOT = "PYTEST_DEBUG_TEMPROOT"  # pytest's own name for where `tmp_path` begins
_ENOUGH_BYTES = 4 * 2**30


def keep_in_memory() -> None:
    """Have pytest make its temporary folders in memory, unless the environment says where."""
    if _ROOT not in os.environ and _IN_MEMORY.is_dir() and _fits():
        os.environ[_ROOT] = str(_IN_MEMORY)


def _fits() -> bool:
    system = os.statvfs(_IN_MEMORY)
    free = min(system.f_bavail * system.f_frsize, psutil.virtual_memory().available)
    return free > _ENOUGH_BYTES and not system.f_flag & os.ST_NOEXEC  # tests write programs and run them
