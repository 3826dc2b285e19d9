"""Children that are bound to their parent and not root."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kms_service.local import tether

REPORT = """#!{python}
import os
held = [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")]
print(os.getuid(), os.access(__file__, os.X_OK), *(int(mask, 16) for mask in held))
"""


def run_report(folder: Path) -> str:
    """What a program in `folder` reports about itself when it runs as `nobody`."""
    program, python = folder / "program", folder / "python"
    python.symlink_to(sys.executable)  # which may lie below a folder with a space, where `#!` ends
    program.write_text(REPORT.format(python=python))
    program.chmod(0o755)
    process = tether.start(
        [program],
        on_parent_death=signal.SIGKILL,
        account=tether.Account(65534, 65534),
        workspace=folder,
        environ={},
        stdout=subprocess.PIPE,
        stderr=None,
    )
    return process.communicate()[0].decode().strip()


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="Linux capabilities, which root gives up"
)
def test_below_a_closed_folder_one_capability_is_kept_and_counts(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert run_report(tmp_path) == f"65534 True {1 << 1}"


def test_nothing_starts_when_the_parent_is_already_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-I", tether.__file__, "--parent", "1", "--signal", "9", "--", "/bin/touch"]
    done = subprocess.run([*command, str(tmp_path / "made")], check=False)  # noqa: S603 - our own program
    assert done.returncode == 1
    assert not (tmp_path / "made").exists()


def test_only_root_becomes_nobody(tmp_path: Path) -> None:
    account = tether.unprivileged_account(tmp_path / "new")
    assert account == (tether.Account(65534, 65534) if os.geteuid() == 0 else None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_owner_of_the_data_runs_it(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 54321)
    assert tether.unprivileged_account(tmp_path) == tether.Account(12345, 54321)
