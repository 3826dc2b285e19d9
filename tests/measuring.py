"""Which tests measure coverage: those that reach lines no other does, for tracing costs half as much again.

The others throw many values, attacks or callers at the same lines, or run what is not ours. So the report
tells a little less than what is reached: a test whose lines it calls missing is to be taken out of here.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from coverage import Coverage

from event_loop import on_loop

_UNMEASURED = {
    "api/test_audit_events.py",
    "api/test_credentials.py",
    "api/test_hostile_values.py",
    "api/test_openapi.py",
    "api/test_openapi_examples.py",
    "api/test_owned_database.py",
    "api/test_scopes.py",
    "audit/test_tampering.py",
    "benchmarks",
    "cli/test_exit.py",
    "cli/test_hostile_values.py",
    "clients/test_python_client.py",
    "data_plane/test_client.py",
    "deploy",
    "e2e/test_leaks.py",
    "e2e/test_reconciliation.py",
    "e2e/test_serve.py",
    "edges/test_handshake.py",
    "integration/test_event_loop.py",
    "integration/test_faults.py",
    "integration/test_killed.py",
    "integration/test_migrations.py",
    "integration/test_overload.py",
    "integration/test_stolen_login.py",
    "integration/test_tampering.py",
    "local/test_demo.py",
    "local/test_session.py",
    "policies/test_attacks.py",
    "policies/test_properties.py",
    "postgres/test_failover.py",
    "postgres/test_reasons.py",
    "regions/test_under_load.py",
    "rotation/test_verify.py",
    "scripts",
    "telemetry/test_request_cost.py",
    "testing",
    "upgrade",
    "vectors",
}
_TESTS = Path(__file__).parent
_OF_CHILDREN = "COVERAGE_PROCESS_CONFIG"  # coverage.py's own name
# Kept: once it has been stopped, `Coverage.current()` does not find it any more.
_coverage = Coverage.current()


def pause() -> None:
    """Measure nothing until a test asks for it: neither collecting, nor a process that runs no tests."""
    if _coverage:
        _coverage.stop()


@contextmanager
def measure(module: Path) -> Iterator[None]:
    """Measure what this module's tests reach, here and in the processes they start, if it is among those."""
    name = module.relative_to(_TESTS)
    if _coverage is None:
        yield
    elif _UNMEASURED.isdisjoint(map(str, (name, *name.parents))):
        _coverage.start()
        on_loop(lambda: sys.settrace(threading.gettrace()))  # new threads take this by themselves
        try:
            yield
        finally:
            _coverage.stop()
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv(_OF_CHILDREN, raising=False)
            yield
