"""Which tests are slow: those that need PostgreSQL or a process of their own. All others are fast."""

import pytest

_SERVERS = {"postgres_server", "kms_service"}
_PROCESSES = {"subprocess", "multiprocessing", "session", "serving", "ServerProcess"}
# Folders whose tests start processes in ways that neither fixtures nor names show.
_FOLDERS = {"benchmarks", "clients", "deploy", "e2e", "edges", "local", "postgres", "scripts"}

MARKERS = (
    "slow: needs PostgreSQL or a process of its own; what scripts/test-kms.sh --fast leaves out",
    "fast: needs neither",
)


def mark(item: pytest.Function) -> None:
    """Mark a test as slow or fast."""
    slow = (
        not _SERVERS.isdisjoint(item.fixturenames)
        or not _PROCESSES.isdisjoint(vars(item.module))
        or item.path.parent.name in _FOLDERS
    )
    item.add_marker("slow" if slow else "fast")
