"""Bills of materials from the locks, as CycloneDX and as SPDX, the same whenever they are made.

cyclonedx-python-lib and spdx-tools write what a Python lock pins; npm writes both for its own lock.
"""

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from checkout import NotReleasable
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packages import TYPESCRIPT, Build
from packageurl import PackageURL
from packaging.requirements import Requirement
from spdx_tools.spdx import model
from spdx_tools.spdx.model.package import ExternalPackageRef, ExternalPackageRefCategory
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from spdx_tools.spdx.writer.json.json_writer import write_document_to_file

# The parts of the service that people install, and the locks that say what they run on.
PARTS = {"kms-service": "serve", "kms-service-tracing": "tracing", "kms-service-local": "local"}
_NPM = "kms-service-client-npm"
_NAMESPACE = uuid.UUID(
    "5e0f0c55-6f0e-5c9b-8b52-2a63a0c1d7de"
)  # drawn once; names below it are this project's


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a lock: its marker, or nothing, and the SHA-256 of each of its files."""

    name: str
    version: str
    marker: str
    hashes: list[str]

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def write_python_bills(build: Build, version: str) -> None:
    """Write NAME-VERSION.cdx.json and NAME-VERSION.spdx.json for each part of the service."""
    for name, lock in PARTS.items():
        pins = list(_read_pins(build.source / "locks" / f"{lock}.txt"))
        (build.into / f"{name}-{version}.cdx.json").write_text(_cyclonedx(build, name, version, pins))
        _write_spdx(build, name, version, pins)


def write_npm_bills(build: Build, version: str) -> None:
    """Write the same for the TypeScript client. The Python client has no lock: it takes what its user has."""
    for kind, suffix in (("cyclonedx", "cdx"), ("spdx", "spdx")):
        text = json.dumps(_of_npm(build, kind, version), indent=2, sort_keys=True, ensure_ascii=False)
        (build.into / f"{_NPM}-{version}.{suffix}.json").write_text(text + "\n")


def _read_pins(lock: Path) -> Iterator[Pin]:
    for line in lock.read_text().replace("\\\n", "").splitlines():
        text, *hashes = line.split("--hash=sha256:")
        requirement = Requirement(text)
        version = str(next(iter(requirement.specifier)).version)
        yield Pin(requirement.name, version, str(requirement.marker or ""), [each.strip() for each in hashes])


def _cyclonedx(build: Build, name: str, version: str, pins: Sequence[Pin]) -> str:
    root = Component(name=name, version=version, type=ComponentType.APPLICATION, bom_ref=name)
    parts = [_component(pin) for pin in pins]
    bom = Bom(
        components=parts,
        metadata=BomMetaData(component=root, timestamp=_moment(build)),
        serial_number=uuid.uuid5(_NAMESPACE, f"{name} {version}"),
    )
    bom.register_dependency(root, parts)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _component(pin: Pin) -> Component:
    files = [HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in pin.hashes]
    return Component(
        name=pin.name,
        version=pin.version,
        bom_ref=pin.purl,
        purl=PackageURL.from_string(pin.purl),
        # The lock has a hash for each file of the package; one of these is installed.
        external_references=[
            ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(pin.purl), hashes=files)
        ],
        properties=[Property(name="kms-service:marker", value=pin.marker)] if pin.marker else [],
    )


def _of_npm(build: Build, kind: str, version: str) -> dict[str, Any]:
    command = ("npm", "sbom", "--package-lock-only", "--omit", "dev", "--sbom-type", "library")
    printed = build.run(*command, "--sbom-format", kind, folder=build.source / TYPESCRIPT)
    document: dict[str, Any] = json.loads(printed)
    identity = uuid.uuid5(_NAMESPACE, f"{_NPM} {version}")
    if kind == "cyclonedx":
        document["serialNumber"] = f"urn:uuid:{identity}"
        document["metadata"]["timestamp"] = _moment(build).isoformat()
        document["metadata"]["component"]["name"] = "@kms-service/client"  # npm says the folder's name
    else:
        document["documentNamespace"] = f"urn:uuid:{identity}"
        document["creationInfo"]["created"] = _moment(build).strftime("%Y-%m-%dT%H:%M:%SZ")
    return document


def _write_spdx(build: Build, name: str, version: str, pins: Sequence[Pin]) -> None:
    file = build.into / f"{name}-{version}.spdx.json"
    root = _package(name, version, None)
    parts = [_package(pin.name, pin.version, pin.purl) for pin in pins]
    kind = model.RelationshipType
    relations = [model.Relationship("SPDXRef-DOCUMENT", kind.DESCRIBES, root.spdx_id)]
    relations += [model.Relationship(root.spdx_id, kind.DEPENDS_ON, part.spdx_id) for part in parts]
    document = model.Document(_information(build, file), packages=[root, *parts], relationships=relations)
    if problems := validate_full_spdx_document(document):
        raise NotReleasable(f"{file.name}: {problems[0].validation_message}")
    write_document_to_file(document, str(file), validate=False)


def _information(build: Build, file: Path) -> model.CreationInfo:
    return model.CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id="SPDXRef-DOCUMENT",
        name=file.name.removesuffix(".spdx.json"),
        document_namespace=f"urn:uuid:{uuid.uuid5(_NAMESPACE, file.name)}",
        creators=[model.Actor(model.ActorType.TOOL, "spdx-tools")],
        created=_moment(build).replace(tzinfo=None),
    )


def _package(name: str, version: str, purl: str | None) -> model.Package:
    where = ExternalPackageRefCategory.PACKAGE_MANAGER
    return model.Package(
        spdx_id="SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{name}-{version}"),
        name=name,
        version=version,
        download_location=model.SpdxNoAssertion(),
        files_analyzed=False,
        external_references=[ExternalPackageRef(where, "purl", purl)] if purl else [],
    )


def _moment(build: Build) -> datetime:
    return datetime.fromtimestamp(build.committed_at, UTC)
