"""Two versions of the service on one database: the one checked out, and the last release from the history."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import takewhile
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
# Imports the version once, which is most of what a command costs, and forks for each request.
_COMMANDS = f"""
import contextlib, importlib, io, json, os, pkgutil, signal, sys
from kms_service import bootstrap, cli

for module in pkgutil.walk_packages(cli.__path__, "kms_service.cli."):
    importlib.import_module(module.name)

def run(arguments):
    sys.argv, out, err = ["kms-service", *arguments], io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as ended:
        done = dict(code=ended.code or 0, out=out.getvalue(), err=err.getvalue())
        print(json.dumps(done), flush=True)

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm({START_SECONDS})  # ends it
        os.environ.clear()
        os.environ.update(asked["env"])
        for arguments in asked["commands"]:
            run(arguments)
        os._exit(0)
    os.waitpid(child, 0)
    print(flush=True)
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Version:
    """A version's files, and the database (as its owner) and KMS that it works on.

    Its commands are forks of `process`, each with an environment of its own.
    """

    source: Path
    owner_url: str
    endpoint: KmsEndpoint
    process: subprocess.Popen[str]

    def env(self, role: str) -> Mapping[str, str]:
        """The environment of a process of this version under a role of the database."""
        url = self.owner_url if role == OWNER else as_role(self.owner_url, role)
        return _env(self.source, url, self.endpoint)

    def run(self, role: str, *commands: Sequence[str], ends: Container[int] = (0,)) -> list[Done]:
        """Run commands of this version in turn, in one process; each must end with one of these codes."""
        asked, answers = self.process.stdin, self.process.stdout
        assert asked is not None
        assert answers is not None
        print(json.dumps({"env": self.env(role), "commands": commands}), file=asked, flush=True)
        ended = [Done(**json.loads(line)) for line in takewhile(str.strip, answers)]
        assert len(ended) == len(commands), f"{commands}: {ended}"
        for command, each in zip(commands, ended, strict=True):
            assert each.code in ends, f"{' '.join(command)}: {each.err}{each.out}"
        return ended


@contextmanager
def prepare_version(source: Path, owner_url: str, endpoint: KmsEndpoint) -> Iterator[Version]:
    """A version whose files are in this folder; for as long as the block runs it has commands."""
    with subprocess.Popen(  # noqa: S603 - this interpreter and the tests' own words
        [sys.executable, "-c", _COMMANDS],
        env=_env(source, owner_url, endpoint),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Version(source, owner_url, endpoint, process)


def _env(source: Path, url: str, endpoint: KmsEndpoint) -> Mapping[str, str]:
    # Coverage is not measured: no test has to cover the files of the last release.
    made = environment(url, endpoint, PYTHONPATH=source / "src")
    return {name: value for name, value in made.items() if not name.startswith("COV")}


def export_last_release(folder: Path) -> None:
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
