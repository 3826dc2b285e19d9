"""README.md and .env.example tell of every setting, error code and command that there is."""

import re
from pathlib import Path

import click
import pytest

from kms_service import errors
from kms_service.cli.root import root
from kms_service.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}
CODES = {
    error.code
    for error in vars(errors).values()
    if isinstance(error, type)
    and issubclass(error, errors.KmsServiceError)
    and not issubclass(error, errors.StartupError)
}


def rows(heading: str) -> str:
    """The rows of the tables of a section."""
    section = README.split(f"\n{heading}\n")[1].split("\n## ")[0]
    return "\n".join(line for line in section.splitlines() if line.startswith("|"))


def test_every_setting_has_its_line_with_its_default() -> None:
    defaults = {name: None if each.is_required() else each.default for name, each in SETTINGS.items()}
    assert {name: written(default) for name, default in defaults.items()} == EXAMPLE


def written(default: object) -> str:
    """A default as it stands in .env."""
    if default is None:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_in_the_table(name: str) -> None:
    assert f"`{name}`" in rows("## Configure it")


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_error_code_is_in_the_table(code: str) -> None:
    assert f"`{code}`" in rows("### Errors")


@pytest.mark.parametrize("command", root.list_commands(click.Context(root)))
def test_every_command_is_in_the_table(command: str) -> None:
    assert re.search(rf"`(kms-service )?{command}\b", rows("## Configure it"))
