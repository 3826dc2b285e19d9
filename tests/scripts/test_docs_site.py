"""The site's folder: every page of the repository, with working links and a menu that lists them all."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lock_files import PROJECT

FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s#:]+)(?:#[^)\s]*)?\)")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pages"
    subprocess.run([sys.executable, PROJECT / "scripts/docs_site.py", folder], check=True)  # noqa: S603 - ours
    return folder


def _menu() -> set[str]:
    class Loader(yaml.SafeLoader):
        """Reads mkdocs' function tags as nothing."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda _loader, _tag, _node: None)
    nav = yaml.load((PROJECT / "docs/mkdocs.yml").read_text(), Loader)["nav"]  # noqa: S506 - a safe loader, extended
    found: set[str] = set()
    for entry in nav:
        for page in entry.values():
            found |= {page} if isinstance(page, str) else {each for item in page for each in item.values()}
    return found


def test_every_link_leads_to_a_file_of_the_site(pages: Path) -> None:
    broken = [
        f"{page.relative_to(pages)}: {target}"
        for page in pages.rglob("*.md")
        for target in LINK.findall(FENCED.sub("", page.read_text()))
        if not (page.parent / target).is_file()
    ]
    assert broken == []


def test_the_reference_is_that_of_this_version(pages: Path) -> None:
    assert (pages / "openapi.json").read_text().startswith("{")
    assert 'src="openapi.json"' in (pages / "reference.md").read_text()


def test_the_menu_has_every_page_of_the_documents_and_no_other(pages: Path) -> None:
    menu = _menu()
    assert {page for page in menu if not (pages / page).exists()} == set()
    written = {str(page.relative_to(PROJECT)) for page in (PROJECT / "docs").glob("*.md")}
    assert written - menu == set(), "give it a line in docs/mkdocs.yml"
