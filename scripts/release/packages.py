"""The packages of a release: the service and both clients, built from an exported commit."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from checkout import NotReleasable

ROOT = Path(__file__).parents[2]
TYPESCRIPT = Path("clients/typescript")


@dataclass(frozen=True, slots=True)
class Build:
    """What a release is built from, as of when (seconds since 1970), and into which folder."""

    source: Path
    committed_at: int
    into: Path

    def run(self, *command: str | Path, folder: Path) -> str:
        """Run a program on the source, at the commit's time, and return what it printed.

        Raises:
            NotReleasable: it failed; the message has its last line.
        """
        # The exported source comes before the installed one, which is the work tree's.
        ours = {
            "SOURCE_DATE_EPOCH": str(self.committed_at),
            "PYTHONPATH": str(self.source / "src"),
            "TZ": "UTC",
        }
        try:
            done = subprocess.run(  # noqa: S603 - our own commands
                [str(part) for part in command],
                cwd=folder,
                env=os.environ | ours,
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            raise NotReleasable(f"{command[0]} is not on the path") from None
        if done.returncode != 0:
            words = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise NotReleasable(f"{Path(command[0]).name} {command[1]}: {words[-1]}")
        return done.stdout


def build_python(build: Build) -> None:
    """Build sdists and wheels of the service (with its extras `local` and `tracing`) and of the client."""
    for folder in (build.source, build.source / "clients/python"):
        build.run(sys.executable, "-m", "hatchling", "build", "--directory", build.into, folder=folder)


def build_typescript(build: Build, packages: Path) -> None:
    """Build the archive that npm installs, with the types of this version's OpenAPI document."""
    folder = build.source / TYPESCRIPT
    # The client's build script runs the interpreter of the project that it is in.
    (build.source / ".venv").symlink_to(ROOT / ".venv")
    (folder / "node_modules").symlink_to(packages)
    build.run("npm", "run", "--silent", "build", folder=folder)
    build.run("npm", "pack", "--silent", "--pack-destination", build.into, folder=folder)


def npm_packages(build: Build, folder: Path) -> Path:
    """What npm's lock pins, installed: by scripts/test-clients.sh earlier, or now into `folder`."""
    installed = ROOT / TYPESCRIPT / "node_modules"
    stamp, lock = installed / ".installed-from", build.source / TYPESCRIPT / "package-lock.json"
    if stamp.exists() and _read_packages(stamp) == _read_packages(lock):
        return installed
    if folder.exists():
        return folder / "node_modules"  # since the first build
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lock.with_name(name), folder)
    build.run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=folder)
    return folder / "node_modules"


def _read_packages(lock: Path) -> dict[str, object]:
    """The packages of a lock, without the client's own version, which a release changes."""
    packages: dict[str, object] = json.loads(lock.read_text())["packages"]
    return {name: package for name, package in packages.items() if name}


def copy_locks(build: Build) -> None:
    """Copy the locks: installed from them, a wheel runs on exactly what was tested."""
    for name in ("serve", "tracing", "local"):
        shutil.copy(build.source / "locks" / f"{name}.txt", build.into / f"requirements-{name}.txt")
