"""Two versions of the service on one database: the one checked out, and the last release from the history."""

import subprocess
import tarfile
from collections.abc import Container, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

from kms_endpoint import KmsEndpoint
from server_process import environment, run
from wiring import as_role

PROJECT = Path(__file__).parents[1]
# The last release, 0.1.0, has no tag yet: this is its code. A release writes its own commit here.
LAST_RELEASE = "dbdfa70e59c52c64119c9cb803160ca68aff823b"
PARTS = ("src", "migrations", "deploy/postgres")
OWNER = "owner"
"""Instead of a role: the database's administrator."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version's files, and the database (as its owner) and KMS that it works on."""

    source: Path
    owner_url: str
    endpoint: KmsEndpoint

    def env(self, role: str) -> dict[str, str]:
        """The environment of a process of this version under a role of the database.

        Its coverage is not measured: no test has to cover the files of the last release.
        """
        url = self.owner_url if role == OWNER else as_role(self.owner_url, role)
        made = environment(url, self.endpoint, PYTHONPATH=self.source / "src")
        return {name: value for name, value in made.items() if not name.startswith("COV")}

    def run(self, role: str, *commands: Sequence[str], ends: Container[int] = (0,)) -> list[str]:
        """Run commands of this version in turn; what each printed. Each must end with one of these codes."""
        printed = []
        for command in commands:
            done = run(*command, env=self.env(role))
            assert done.returncode in ends, f"{' '.join(command)}: {done.stderr}{done.stdout}"
            printed.append(done.stdout)
        return printed


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
