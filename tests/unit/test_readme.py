"""The documents name every setting, error code and command, and no others; their links work."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kms_service import errors
from kms_service.api import problems
from kms_service.cli.root import root
from kms_service.settings import Settings
from kms_service.store.postgres.tables import metadata

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLE = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
MADE = {"node_modules", "build", "dist"}
"""Folders that programs fill."""
SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}

_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_PATH = re.compile(r"([\w.-]+)(/[\w./-]*)?(?:::(\w+))?")
_PROGRAM = re.compile(r".*\.(py|sh|sql)")


def rows(page: Path) -> Iterator[list[str]]:
    """The cells of each row of the page's tables, without the heads."""
    for line in page.read_text().splitlines():
        if line.startswith("| `") or re.match(r"\| \d{3} ", line):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def markdown() -> Iterator[Path]:
    for folder, inside, files in os.walk(ROOT):
        inside[:] = [name for name in inside if not name.startswith(".") and name not in MADE]
        yield from (Path(folder) / name for name in files if name.endswith(".md") or name == "llms.txt")


PAGES = sorted(markdown())


def in_root(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_readme_is_a_front_door() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 8_000


@pytest.mark.parametrize("index", ["README.md", "llms.txt"])
def test_every_page_can_be_found(index: str) -> None:
    linked = {target.partition("#")[0] for target in _LINK.findall((ROOT / index).read_text())}
    assert {in_root(page) for page in DOCS.glob("*.md")} <= linked


# Settings


def test_every_setting_has_its_line_with_its_default() -> None:
    defaults = {name: None if each.is_required() else each.default for name, each in SETTINGS.items()}
    assert {name: format_default(default) for name, default in defaults.items()} == EXAMPLE


def format_default(default: object) -> str:
    """A default as it stands in .env."""
    if default is None:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def documented_settings() -> dict[str, str]:
    """Name and default of each setting, as docs/configuration.md has them."""
    found: dict[str, str] = {}
    for names, defaults, _ in rows(DOCS / "configuration.md"):
        variables, values = _CODE.findall(names), defaults.replace("`", "").split(", ")
        if len(values) == 1:
            values *= len(variables)
        found |= dict(zip(variables, values, strict=True))
    return found


def test_every_setting_is_in_the_table_with_its_default() -> None:
    assert documented_settings() == {
        name: "required" if each.is_required() else format_default(each.default) or "none"
        for name, each in SETTINGS.items()
    }


# Error codes


def status_by_code() -> dict[str, int]:
    """Each code that an answer can have, and its status."""
    found = {code: status for status, (code, _) in problems._FRAMEWORK.items()}
    found |= {code: status for code, (status, _) in problems._REFUSED.items()}
    ours = [each for each in (*vars(errors).values(), *problems.ANSWERS) if isinstance(each, type)]
    for error in ours:
        if issubclass(error, errors.KmsServiceError) and not issubclass(error, errors.StartupError):
            found[error.code] = problems._answer(error)[0]
    return found


def test_every_error_code_is_in_the_table_with_its_status() -> None:
    documented = {
        code: int(cells[0])
        for cells in rows(DOCS / "api.md")
        if cells[0].isdigit()
        for code in _CODE.findall(cells[1])
    }
    assert documented == status_by_code()


# Commands


def commands(group: click.Group, before: str) -> Iterator[str]:
    """Every command that does something, as it is typed."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{before} {name}")
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{before} {name}"


def documented_commands() -> Iterator[str]:
    for cells in rows(DOCS / "operations.md"):
        for typed in _CODE.findall(cells[0]):
            *before, last = re.sub(r" [A-Z].*", "", typed).split(" ")
            yield from (" ".join([*before, name]) for name in last.split(r"\|"))


def test_every_command_is_in_the_table() -> None:
    assert sorted(documented_commands()) == sorted(commands(root, "kms-service"))


# Data at rest


def test_every_column_of_a_wallet_and_every_table_is_documented() -> None:
    page = DOCS / "data-at-rest.md"
    named = {code for cells in rows(page) for code in _CODE.findall(cells[0])}
    elsewhere = set(_CODE.findall(_FENCED.sub("", page.read_text())))
    columns = set(metadata.tables["wallets"].columns.keys())
    assert columns <= named
    assert named - columns <= metadata.tables.keys(), "documented, and not there"
    assert metadata.tables.keys() <= elsewhere


# Decisions

DECISIONS = sorted((DOCS / "adr").glob("[0-9]*.md"))


@pytest.mark.parametrize("page", DECISIONS, ids=in_root)
def test_every_decision_has_its_parts_and_its_place(page: Path) -> None:
    parts = ["Context", "Decision", "Consequences", "Alternatives"]
    number, title = int(page.name[:4]), page.read_text().partition("\n")[0]
    assert [part for part in _HEADING.findall(page.read_text()) if part in parts] == parts
    assert title.startswith(f"# {number}. ")
    row = f"| {number} | [{title.partition('. ')[2]}]({page.name}) |"
    assert row in (DOCS / "adr/README.md").read_text().splitlines()


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


# Links and names of files


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives the headings of a page."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=in_root)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(_CODE.sub("", _FENCED.sub("", page.read_text()))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if fragment:
            assert fragment in anchors(file), target


def named_files(page: Path) -> Iterator[tuple[str, list[Path], str]]:
    """What a page names in code that looks like a file: it, where it may be, and the test in it."""
    bundle = ROOT / "src/kms_service/service/evidence"  # a member of every bundle is told by its name alone
    bases = (page.parent, ROOT, ROOT / "src/kms_service", bundle)
    for name in _CODE.findall(_FENCED.sub("", page.read_text())):
        if found := _PATH.fullmatch(name):
            first, rest, test = found.groups(default="")
            if _PROGRAM.fullmatch(first + rest) or (rest and any((base / first).is_dir() for base in bases)):
                yield name, [base / (first + rest) for base in bases], test


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=in_root)
def test_every_file_and_test_that_is_named_exists(page: Path) -> None:
    """As seen from the page, the top level, or the package."""
    for name, places, test in named_files(page):
        found = [place for place in places if place.exists()]
        assert found, name
        assert not test or f"def {test}(" in found[0].read_text(), name
