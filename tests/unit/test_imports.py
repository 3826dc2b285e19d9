"""Modules that a start must not load: every import costs every process time and memory."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("kms_service.api.app", {"eth_account", "alembic", "moto", "matplotlib", "boto3", "botocore"}),
        (
            "kms_service.cli.process.serve",
            {"sqlalchemy", "psycopg", "boto3", "fastapi", "cryptography"},
        ),
        (
            "kms_service.cli.process.supervision.supervisor",
            {"kms_service.cli.root", "kms_service.errors", "pydantic", "click", "structlog", "uvicorn"}
            | {"asyncio", "multiprocessing", "ssl", "prometheus_client"},
        ),
        ("kms_service.cli.root", {"pydantic", "sqlalchemy", "boto3", "fastapi", "uvicorn"}),
    ],
)
def test_a_module_loads_only_what_it_works_with(module: str, absent: set[str]) -> None:
    assert _run(f"import {module}", absent) == "\n"


def test_the_list_of_commands_loads_none_of_them() -> None:
    program = "from kms_service.cli.root import root; root(['--help'], standalone_mode=False)"
    shown = _run(program, {"pydantic"})
    assert shown.endswith("  Verify, read, export and reconcile the audit log.\n\n")


def _run(program: str, watched: set[str]) -> str:
    """What a program of its own prints, and at the end which of these it has loaded."""
    program = f"import sys; {program}; print(*({watched} & sys.modules.keys()))"
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    run = subprocess.run(  # noqa: S603 # our own program
        [sys.executable, "-c", program], env=path, capture_output=True, text=True, check=True
    )
    return run.stdout
