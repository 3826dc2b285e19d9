"""A local chain and npm's packages, for tests that use the clients as their users do."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parents[1]
TYPESCRIPT = ROOT / "clients/typescript"
PYTHON = ROOT / "clients/python"
PATIENCE = 240
_UV = ROOT / ".venv/bin/uv"
_LISTENING = re.compile(r"Listening on ([\d.]+:\d+)")


def npm_packages() -> Path:
    """The folder of npm's packages, as `scripts/test-clients.sh` installed them; else the test is skipped."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not on the path")
    if not (folder := TYPESCRIPT / "node_modules").is_dir():
        pytest.skip("npm's packages are not installed: scripts/test-clients.sh installs them")
    return folder


def run(*command: str | Path, folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Run one command, which must succeed, and return what it printed."""
    done = subprocess.run(  # noqa: S603 - the tests' own words
        [str(part) for part in command],
        cwd=folder,
        env={**ambient(), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}"
    return done.stdout


def ambient() -> dict[str, str]:
    """What tools need from the developer's environment: paths, home, and where packages come from."""
    tools = ("PATH", "HOME", "TMPDIR", "NPM_CONFIG", "npm_config", "UV_", "PIP_", "SSL_CERT", "NODE_EXTRA")
    kept = (*tools, "HTTP", "http", "NO_PROXY", "no_proxy")
    return {name: value for name, value in os.environ.items() if name.startswith(kept)}


def python_environment(folder: Path) -> Path:
    """Make an environment with what `locks/clients.txt` pins, and return its interpreter."""
    python = folder / "environment/bin/python"
    run(_UV, "venv", "--quiet", "--python", sys.executable, folder / "environment", folder=folder)
    lock = ROOT / "locks/clients.txt"
    try:
        run(*_install(python), "--require-hashes", "-r", lock, folder=folder)
    except AssertionError as error:
        if any(words in str(error) for words in ("dns error", "Connection refused", "timed out")):
            pytest.skip("no package index can be reached")
        raise
    return python


def install_wheel(python: Path, requirement: str) -> None:
    """Install a built package; everything that it needs must already be installed."""
    run(*_install(python), "--offline", requirement, folder=python.parent)


def _install(python: Path) -> tuple[str | Path, ...]:
    return (_UV, "pip", "install", "--quiet", "--python", python)


@contextmanager
def local_chain(packages: Path) -> Iterator[str]:
    """Run an EVM node that makes a block for every transaction; yields its JSON-RPC address."""
    process = subprocess.Popen(  # noqa: S603 - as above
        [str(packages / ".bin/anvil"), "--port", "0", "--accounts", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ambient(),
        start_new_session=True,  # ending only npm's wrapper would leave the node behind
    )
    assert process.stdout is not None
    with process.stdout as lines:
        try:
            address = _address(lines)
            drain = threading.Thread(target=lines.read)  # a full pipe would block the node
            drain.start()
            yield f"http://{address}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
        drain.join(30)


def _address(lines: IO[str]) -> str:
    printed = []
    for line in lines:
        printed.append(line)
        if found := _LISTENING.search(line):
            return found[1]
    raise AssertionError(f"the chain did not start:\n{''.join(printed)}")
