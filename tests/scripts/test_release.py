"""scripts/release.sh: a release of a copy of this project, twice with the same hashes."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from lock_files import locked_packages

PROJECT = Path(__file__).resolve().parents[2]
VERSION = "987.6.5"
COPIED = ("clients", "locks", "migrations", "scripts", "src")
FILES = ("CHANGELOG.md", "LICENSE", "README.md", "alembic.ini", "pyproject.toml")
COMMITTED_AT = "2026-11-26T12:00:00+00:00"
SOMEBODY = {
    "GIT_COMMITTER_DATE": COMMITTED_AT,
    **{f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(  # noqa: S603 - constants
        ["git", *arguments],  # noqa: S607 - the one on the path
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            **SOMEBODY,
        },
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def release(clone: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Without the shell script, which would make another environment in the copy."""
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-B", clone / "scripts/release/cut.py", "--python-only", *arguments],
        cwd=clone,
        env={"PATH": os.environ["PATH"], "HOME": str(clone), **SOMEBODY},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what a release is made of, at one commit, in which a release may be committed."""
    folder = tmp_path_factory.mktemp("clone")
    ignored = shutil.ignore_patterns("__pycache__", "node_modules", "dist")
    for name in COPIED:
        shutil.copytree(PROJECT / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy(PROJECT / name, folder)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all of it")
    return folder


@pytest.fixture(scope="module")
def dry_run(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a dry run built, with the unreleased section that it found."""
    folder = tmp_path_factory.mktemp("built")
    done = release(clone, VERSION, "--into", folder)
    assert done.returncode == 0, done.stderr
    assert "built twice with the same hashes" in done.stdout
    assert "A dry run" in done.stdout
    return folder


def _document(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


@pytest.mark.usefixtures("dry_run")
def test_a_dry_run_changes_nothing(clone: Path) -> None:
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "tag") == ""


def test_a_release_holds_packages_bills_notes_locks_and_statements(dry_run: Path) -> None:
    parts = ("kms-service", "kms-service-local", "kms-service-tracing")
    assert {file.name for file in dry_run.iterdir()} == {
        *(f"kms_service-{VERSION}{kind}" for kind in ("-py3-none-any.whl", ".tar.gz")),
        *(f"kms_service_client-{VERSION}{kind}" for kind in ("-py3-none-any.whl", ".tar.gz")),
        *(f"{part}-{VERSION}.{kind}.json" for part in parts for kind in ("cdx", "spdx")),
        *(f"requirements-{lock}.txt" for lock in ("serve", "tracing", "local")),
        *("NOTES.md", "SHA256SUMS", f"kms-service-{VERSION}.intoto.json"),
    }


def test_everything_in_the_packages_has_the_commits_time(dry_run: Path) -> None:
    committed = datetime.fromisoformat(COMMITTED_AT).astimezone(UTC)
    for wheel in dry_run.glob("*.whl"):
        assert {entry.date_time for entry in zipfile.ZipFile(wheel).infolist()} == {committed.timetuple()[:6]}
    for archive in dry_run.glob("*.tar.gz"):
        with tarfile.open(archive) as members:
            assert {member.mtime for member in members} == {committed.timestamp()}


def test_the_version_is_in_every_package(dry_run: Path) -> None:
    for wheel in dry_run.glob("*.whl"):
        names = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")]
        assert f"\nVersion: {VERSION}\n" in zipfile.ZipFile(wheel).read(names[0]).decode()


def test_the_sums_and_the_statement_name_every_file_with_its_hash(dry_run: Path) -> None:
    lines = [line.split("  ") for line in (dry_run / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    seen = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in dry_run.iterdir()}
    del seen["SHA256SUMS"]
    assert sums == seen
    statement = f"kms-service-{VERSION}.intoto.json"
    subjects = {each["name"]: each["digest"]["sha256"] for each in _document(dry_run, statement)["subject"]}
    assert subjects == {name: digest for name, digest in seen.items() if name != statement}


def test_the_statement_names_the_commit_and_every_lock(clone: Path, dry_run: Path) -> None:
    document = _document(dry_run, f"kms-service-{VERSION}.intoto.json")
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    definition = document["predicate"]["buildDefinition"]
    commit, *locks = definition["resolvedDependencies"]
    assert commit["digest"] == {"gitCommit": git(clone, "rev-parse", "HEAD").strip()}
    for lock in locks:
        assert lock["digest"]["sha256"] == hashlib.sha256((clone / lock["name"]).read_bytes()).hexdigest()
    assert len(locks) == len(list((clone / "locks").iterdir()))


@pytest.mark.parametrize("lock", ["serve", "tracing", "local"])
def test_both_bills_list_what_the_lock_pins(dry_run: Path, lock: str) -> None:
    name = "kms-service" if lock == "serve" else f"kms-service-{lock}"
    pinned = {
        (package, str(version))
        for package, versions in locked_packages(f"{lock}.txt").items()
        for version in versions
    }
    cyclonedx, spdx = (_document(dry_run, f"{name}-{VERSION}.{kind}.json") for kind in ("cdx", "spdx"))
    assert {(canonicalize_name(each["name"]), each["version"]) for each in cyclonedx["components"]} == pinned
    assert all(each["externalReferences"][0]["hashes"] for each in cyclonedx["components"])
    ours, *others = spdx["packages"]
    assert (ours["name"], ours["versionInfo"]) == (name, VERSION)
    assert {(canonicalize_name(each["name"]), each["versionInfo"]) for each in others} == pinned
    assert {each["externalRefs"][0]["referenceLocator"] for each in others} == {
        each["purl"] for each in cyclonedx["components"]
    }


def test_no_bill_names_this_machine(dry_run: Path) -> None:
    for file in dry_run.glob("*.json"):
        assert not re.search(r"/(root|home|tmp)/|/simple/", file.read_text()), file.name


def test_a_version_is_committed_and_tagged_and_built_from_there(
    clone: Path, dry_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(clone, tmp_path / "clone")
    clone = tmp_path / "clone"
    notes = (clone / "CHANGELOG.md").read_text().split("## [Unreleased]\n")[1].strip()
    done = release(clone, VERSION, "--commit")
    assert done.returncode == 0, done.stderr
    assert git(clone, "log", "-1", "--format=%s").strip() == f"release: {VERSION}"
    assert git(clone, "rev-parse", f"v{VERSION}^{{commit}}") == git(clone, "rev-parse", "HEAD")
    assert git(clone, "status", "--porcelain", "--untracked-files=no") == ""
    changed = git(clone, "show", "--name-only", "--format=", "HEAD").split()
    assert sorted(changed) == [
        "CHANGELOG.md",
        "clients/python/src/kms_service_client/__init__.py",
        "clients/typescript/package-lock.json",
        "clients/typescript/package.json",
        "src/kms_service/__init__.py",
    ]
    built = clone / "dist" / VERSION
    assert (built / "NOTES.md").read_text().strip() == notes
    revision = git(clone, "rev-parse", "HEAD").strip()
    assert f"--build-arg VERSION={VERSION} --build-arg REVISION={revision}" in done.stdout
    # The dry run had the same time and showed what comes out now; only the commit is another.
    shown, given = (
        {file.name: file.read_bytes() for file in folder.iterdir()} for folder in (dry_run, built)
    )
    different = {name for name in shown.keys() | given.keys() if shown.get(name) != given.get(name)}
    assert different == {"SHA256SUMS", f"kms-service-{VERSION}.intoto.json"}
    assert f"{revision} is the LAST_RELEASE" in done.stdout
    refused = release(clone, VERSION)
    assert refused.stderr == f"release.sh: {VERSION} is not above {VERSION}, which is released\n"


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "1.2.3rc1", "01.2.3"])
def test_anything_but_a_version_is_refused(clone: Path, version: str) -> None:
    done = release(clone, version)
    assert (done.returncode, done.stderr) == (1, f"release.sh: {version} is not MAJOR.MINOR.PATCH\n")


def test_uncommitted_changes_are_refused(clone: Path, tmp_path: Path) -> None:
    shutil.copytree(clone, tmp_path / "clone")
    (tmp_path / "clone" / "LICENSE").write_text("mine\n")
    done = release(tmp_path / "clone", VERSION, "--commit")
    assert done.stderr == "release.sh: 1 changed files are not committed, such as LICENSE\n"
    assert git(tmp_path / "clone", "tag") == ""


def test_the_version_is_the_same_everywhere() -> None:
    assigned = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
    files = ("src/kms_service/__init__.py", "clients/python/src/kms_service_client/__init__.py")
    versions = {assigned.findall((PROJECT / name).read_text())[0] for name in files}
    npm = [
        json.loads((PROJECT / "clients/typescript" / name).read_text())
        for name in ("package.json", "package-lock.json")
    ]
    versions |= {document["version"] for document in npm} | {npm[1]["packages"][""]["version"]}
    assert len(versions) == 1
