"""Two versions of the service on one database: the one checked out, and the last release from the history."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

from kms_endpoint import KmsEndpoint
from server_process import START_SECONDS, environment
from wiring import as_role

PROJECT = Path(__file__).parents[1]
# The last release, 0.1.0, has no tag yet: this is its code. A release writes its own commit here.
LAST_RELEASE = "dbdfa70e59c52c64119c9cb803160ca68aff823b"
PARTS = ("src", "migrations", "deploy/postgres")
OWNER = "owner"
"""Instead of a role: the database's administrator."""
_IN_TURN = """
import contextlib, io, json, sys
from kms_service.cli import main

for arguments in json.load(sys.stdin):
    sys.argv, out, err = ["kms-service", *arguments], io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        done = {"code": ended.code or 0, "out": out.getvalue(), "err": err.getvalue()}
        print(json.dumps(done), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Version:
    """A version's files, and the database (as its owner) and KMS that it works on."""

    source: Path
    owner_url: str
    endpoint: KmsEndpoint

    def env(self, role: str) -> Mapping[str, str]:
        """The environment of a process of this version under a role of the database.

        Its coverage is not measured: no test has to cover the files of the last release.
        """
        url = self.owner_url if role == OWNER else as_role(self.owner_url, role)
        made = environment(url, self.endpoint, PYTHONPATH=self.source / "src")
        return {name: value for name, value in made.items() if not name.startswith("COV")}

    def run(self, role: str, *commands: Sequence[str], ends: Container[int] = (0,)) -> list[Done]:
        """Run commands of this version in turn, in one process; each must end with one of these codes."""
        done = subprocess.run(  # noqa: S603 - this interpreter and the tests' own words
            [sys.executable, "-c", _IN_TURN],
            env=self.env(role),
            input=json.dumps(commands),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        ended = [Done(**json.loads(line)) for line in done.stdout.splitlines()]
        assert len(ended) == len(commands), done.stderr
        for command, each in zip(commands, ended, strict=True):
            assert each.code in ends, f"{' '.join(command)}: {each.err}{each.out}"
        return ended


def export_last_release(folder: Path) -> Path:
    """Write the files of the last release, from the history, into a folder."""
    archived = subprocess.run(  # noqa: S603 - a constant
        ["git", "-C", PROJECT, "archive", LAST_RELEASE, *PARTS],  # noqa: S607 - the one on the path
        capture_output=True,
        check=False,
    )
    if archived.returncode != 0:
        pytest.skip(f"the history has no {LAST_RELEASE}: git fetch --unshallow")
    with tarfile.open(fileobj=BytesIO(archived.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder
