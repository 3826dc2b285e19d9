"""The pytest plugin as a team that calls the service uses it, with the tests in `theirs.py`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/testing.md"
THEIRS = Path(__file__).with_name("theirs.py")


def test_the_page_shows_their_first_test() -> None:
    lines = THEIRS.read_text().split("def test_a_user_gets")[1].split("\n\n\n")[0].splitlines()[1:]
    assert all(line in PAGE.read_text() for line in lines)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says in a separate project, which neither imports nor configures the plugin.

    Its environment points at somebody's production.
    """
    project = tmp_path_factory.mktemp("theirs")
    shutil.copy(THEIRS, project / "test_theirs.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "test_theirs.py"],
        cwd=project,
        env={**os.environ, "KMS_KEY_POOL_SIZE": "3", "AWS_REGION": "eu-north-1", "DATABASE_URL": "wrong"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", THEIRS.read_text(), re.MULTILINE))
def test_a_project_with_the_package_installed_needs_no_import(printed: str, name: str) -> None:
    assert f"::{name} PASSED" in printed, printed
