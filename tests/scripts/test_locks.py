"""The lock files: complete, exact, hashed, and the same where they overlap."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).resolve().parents[2]
PINNED = re.compile(
    r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; ([^\\]+?))? \\$((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)",
    re.MULTILINE,
)


def locked(name: str) -> dict[str, set[Version]]:
    found: dict[str, set[Version]] = {}
    for package, version, _, _ in PINNED.findall((PROJECT / "locks" / name).read_text()):
        found.setdefault(canonicalize_name(package), set()).add(Version(version))
    return found


def declared(*, everything: bool) -> list[Requirement]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    lists = [project["project"]["dependencies"]]
    if everything:
        lists += [
            *project["project"]["optional-dependencies"].values(),
            *project["dependency-groups"].values(),
        ]
    return [Requirement(text) for texts in lists for text in texts]


@pytest.mark.parametrize(("name", "everything"), [("serve.txt", False), ("develop.txt", True)])
def test_every_declared_dependency_is_locked_at_a_version_it_allows(name: str, *, everything: bool) -> None:
    versions = locked(name)
    for requirement in declared(everything=everything):
        found = versions.get(canonicalize_name(requirement.name), set())
        assert found, f"{requirement} is not in {name}: run scripts/lock.sh"
        assert all(version in requirement.specifier for version in found), requirement


def test_what_is_tested_is_what_is_served() -> None:
    serve, develop = locked("serve.txt"), locked("develop.txt")
    assert serve == {package: develop[package] for package in serve}


@pytest.mark.parametrize("name", ["serve.txt", "develop.txt"])
def test_every_line_is_an_exact_version_with_hashes_and_names_no_host(name: str) -> None:
    text = (PROJECT / "locks" / name).read_text()
    assert PINNED.sub("", text).strip() == ""
    assert "://" not in text
