"""The version and the changelog: one number in `src/kms_service/__init__.py`, which everything follows."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from checkout import NotReleasable
from packaging.version import InvalidVersion, Version

SOURCE = Path("src/kms_service/__init__.py")
_CLIENT = Path("clients/python/src/kms_service_client/__init__.py")
_NPM = [Path("clients/typescript") / name for name in ("package.json", "package-lock.json")]
_CHANGELOG = Path("CHANGELOG.md")
_ASSIGNED = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_UNRELEASED = "## [Unreleased]\n"


def current(folder: Path) -> str:
    """The version of the source in a folder."""
    version: str = _ASSIGNED.findall((folder / SOURCE).read_text())[0]
    return version


def check(version: str, released: Sequence[str]) -> None:
    """Check that a version can follow those released.

    Raises:
        NotReleasable: it is not MAJOR.MINOR.PATCH, or not above all of them.
    """
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version):
        raise NotReleasable(f"{version} is not MAJOR.MINOR.PATCH")
    newest = max(map(_number, released), default=None)
    if newest is not None and Version(version) <= newest:
        raise NotReleasable(f"{version} is not above {newest}, which is released")


def _number(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")  # a tag of something else


def set_everywhere(folder: Path, version: str) -> None:
    """Write the version into the source, and into the clients, which are released with it."""
    for file in (folder / SOURCE, folder / _CLIENT):
        file.write_text(_ASSIGNED.sub(f'__version__ = "{version}"', file.read_text()))
    for name in _NPM:
        document = json.loads((folder / name).read_text())
        document["version"] = version
        if "packages" in document:
            document["packages"][""]["version"] = version
        (folder / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def cut_changelog(folder: Path, version: str, day: str) -> None:
    """Move what is unreleased to a section of this version and day, and leave an empty one above it.

    Raises:
        NotReleasable: nothing is unreleased, or the version has a section.
    """
    file = folder / _CHANGELOG
    text = file.read_text()
    if f"\n## [{version}]" in text:
        raise NotReleasable(f"{_CHANGELOG} has a section {version}")
    if not _section(text, "Unreleased"):
        raise NotReleasable(f"{_CHANGELOG} has nothing under Unreleased")
    file.write_text(text.replace(_UNRELEASED, f"{_UNRELEASED}\n## [{version}] - {day}\n", 1))


def notes(folder: Path, version: str) -> str:
    """What the changelog says about a version, for those who upgrade to it.

    Raises:
        NotReleasable: it says nothing.
    """
    text = _section((folder / _CHANGELOG).read_text(), version)
    if not text:
        raise NotReleasable(f"{_CHANGELOG} says nothing of {version}: cut the version first")
    return text + "\n"


def _section(changelog: str, name: str) -> str:
    found = re.search(rf"^## \[{re.escape(name)}\].*?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""
