"""The lock files: complete, exact, hashed, and the same where they overlap."""

import tomllib
from collections.abc import Sequence

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lock_files import PINNED, PROJECT, locked_packages


def declared_requirements(
    extras: Sequence[str], groups: Sequence[str], *, service: bool = True
) -> list[Requirement]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    lists = [project["project"]["dependencies"]] if service else []
    lists += [project["project"]["optional-dependencies"][extra] for extra in extras]
    lists += [project["dependency-groups"][group] for group in groups]
    return [Requirement(text) for texts in lists for text in texts if isinstance(text, str)]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("clients.txt", declared_requirements([], ["clients"], service=False)),
        ("docs.txt", declared_requirements([], ["docs"], service=False)),
        ("workflows.txt", declared_requirements([], ["workflows"], service=False)),
        ("build.txt", declared_requirements([], ["build"], service=False)),
        ("serve.txt", declared_requirements([], [])),
        ("tracing.txt", declared_requirements(["tracing"], [])),
        ("local.txt", declared_requirements(["local"], [])),
        ("develop.txt", declared_requirements(["local", "tracing"], ["build", "dev", "bench"])),
    ],
)
def test_every_declared_dependency_is_locked_at_a_version_it_allows(
    name: str, wanted: list[Requirement]
) -> None:
    versions = locked_packages(name)
    for requirement in wanted:
        found = versions.get(canonicalize_name(requirement.name), set())
        assert found, f"{requirement} is not in {name}: run scripts/lock.sh"
        assert all(version in requirement.specifier for version in found), requirement


@pytest.mark.parametrize("name", ["build.txt", "serve.txt", "tracing.txt", "local.txt"])
def test_what_is_tested_is_what_is_served(name: str) -> None:
    part, whole = locked_packages(name), locked_packages("develop.txt")
    assert part == {package: whole[package] for package in part}


@pytest.mark.parametrize("name", [lock.name for lock in sorted((PROJECT / "locks").iterdir())])
def test_every_line_is_an_exact_version_with_hashes_and_names_no_host(name: str) -> None:
    text = (PROJECT / "locks" / name).read_text()
    assert PINNED.sub("", text).strip() == ""
    assert "://" not in text
