"""Statements about the files of a release: their checksums, and what they were built from."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed
from pathlib import Path

from packages import Build

SUMS = "SHA256SUMS"
_BUILD_TYPE = "urn:kms-service:release:1"
# What the result depends on besides the commit: stated, so that others can build the same.
_TOOLS = ("hatchling", "cyclonedx-python-lib", "spdx-tools")


def write_statement(build: Build, version: str, commit: str, programs: Sequence[str]) -> None:
    """Write the provenance of all files so far: an unsigned in-toto statement with SLSA's predicate.

    Args:
        build: what was built.
        version: its version.
        commit: the id of the commit that it was exported from.
        programs: the programs that took part in it besides Python.
    """
    subjects = [{"name": name, "digest": {"sha256": digest}} for name, digest in digests(build.into).items()]
    locks = sorted((build.source / "locks").glob("*.txt"))
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"version": version},
                "internalParameters": {
                    "tools": _tools(build, programs),
                    "SOURCE_DATE_EPOCH": str(build.committed_at),
                },
                "resolvedDependencies": [
                    {"name": "kms-service", "digest": {"gitCommit": commit}},
                    *({"name": f"locks/{lock.name}", "digest": {"sha256": _sha256(lock)}} for lock in locks),
                ],
            },
            "runDetails": {"builder": {"id": "urn:kms-service:scripts/release.sh"}},
        },
    }
    file = build.into / f"kms-service-{version}.intoto.json"
    file.write_text(json.dumps(statement, indent=2) + "\n")


def _tools(build: Build, programs: Sequence[str]) -> Mapping[str, str]:
    told = {name: build.run(name, "--version", folder=build.source).strip() for name in programs}
    return {"python": platform.python_version(), **{name: installed(name) for name in _TOOLS}, **told}


def write_sums(folder: Path) -> None:
    """Write the SHA256SUMS of all files, as `sha256sum --check` reads it."""
    lines = [f"{digest}  {name}\n" for name, digest in digests(folder).items()]
    (folder / SUMS).write_text("".join(lines))


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file by name."""
    return {file.name: _sha256(file) for file in sorted(folder.iterdir())}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
