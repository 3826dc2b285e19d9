"""What a start does not load: every process pays for every import, in time and in memory."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("kms_service.api.app", {"eth_account", "alembic", "moto", "matplotlib"}),
        (
            "kms_service.cli.serve",
            {"sqlalchemy", "psycopg", "boto3", "fastapi", "cryptography"},
        ),
        ("kms_service.cli.root", {"pydantic", "sqlalchemy", "boto3", "fastapi", "uvicorn"}),
    ],
)
def test_a_module_loads_only_what_it_works_with(module: str, absent: set[str]) -> None:
    program = f"import sys, {module}; print(*({absent} & sys.modules.keys()))"
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    run = subprocess.run(  # noqa: S603 # our own program
        [sys.executable, "-c", program], env=path, capture_output=True, text=True, check=True
    )
    assert run.stdout == "\n"
