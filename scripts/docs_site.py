"""Lays out the pages of the site in one folder: `scripts/docs.sh` runs this, then mkdocs.

    .venv/bin/python scripts/docs_site.py FOLDER

Every Markdown page of the repository keeps its place, so that its links to other pages work. Links to other
files lead to copies of them; a link to a folder leads to its README, or is dropped if it has none. The HTTP
reference comes from this version's OpenAPI document.
"""

import argparse
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
# Pages that only a checkout needs.
NOT_PAGES = (".github/", "tests/")
REFERENCE = """# HTTP reference

Every route, from the OpenAPI document of this version: [openapi.json](openapi.json). A running service has it
at `/docs`, too. [HTTP](docs/api.md) explains scopes, errors and what is signed.

<swagger-ui src="openapi.json" supportedSubmitMethods="[]"/>
"""
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^ *(```|~~~)")


@dataclass(frozen=True, slots=True)
class Site:
    """The repository's files by name, and the folder that the site is laid out in."""

    files: frozenset[str]
    folder: Path

    def lay_out(self) -> None:
        """Write every page, and the files that pages show or link to."""
        for page in sorted(self.files):
            if page.endswith(".md") and not page.startswith(NOT_PAGES):
                self._write(page, self._rewrite_links(page))
        self._write("reference.md", REFERENCE)
        for style in ("docs/site.css", "docs/reference.css"):
            self._copy(style)

    def _rewrite_links(self, page: str) -> str:
        """A page's text, with links that work on the site; code blocks are not changed."""
        lines, fenced = [], False
        for line in (ROOT / page).read_text().splitlines(keepends=True):
            fenced ^= bool(_FENCE.match(line))
            lines.append(line if fenced else _LINK.sub(lambda found: self._link(page, found), line))
        return "".join(lines)

    def _link(self, page: str, found: re.Match[str]) -> str:
        shown, text, target, anchor = found.groups(default="")
        if re.match(r"[a-z]+:", target):
            return found[0]
        path = _normal(PurePosixPath(page).parent / target)
        if f"{path}/README.md" in self.files:
            return f"{shown}[{text}]({target.rstrip('/')}/README.md{anchor})"
        if path not in self.files or path.startswith("."):
            return text  # a folder without a page, or a hidden file: neither is on the site
        if not path.endswith(".md"):
            self._copy(path)
        return found[0]

    def _copy(self, path: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, self.folder / path)

    def _write(self, page: str, text: str) -> None:
        (self.folder / page).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / page).write_text(text)


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def main() -> None:
    """Lay the site out anew."""
    parser = argparse.ArgumentParser(description="Lays out the pages of the site in one folder.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    listed = subprocess.run(
        ["git", "ls-files"],  # noqa: S607 - the one on the path
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    shutil.rmtree(folder, ignore_errors=True)
    Site(frozenset(listed.splitlines()), folder).lay_out()
    subprocess.run([sys.executable, ROOT / "scripts/openapi.py", folder / "openapi.json"], check=True)  # noqa: S603 - ours


if __name__ == "__main__":
    main()
