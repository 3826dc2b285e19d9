"""How a version of a policy is told of: in its MAC, and in the audit log."""

import hashlib


def fields(name: str, version: int, document: str) -> tuple[str, str, bytes]:
    """What the MAC of a version covers: name, number, and the SHA-256 of the document."""
    return name, str(version), _digest(document)


def record(name: str, version: int, document: str) -> str:
    """The detail of the audit row of a version that is being set."""
    return f"{name} {version} sha256:{_digest(document).hex()}"


def recorded_version(detail: str) -> int:
    """The number in such a detail; 0 in any other text."""
    parts = detail.split(" ")
    return int(parts[1]) if len(parts) == 3 and parts[1].isascii() and parts[1].isdecimal() else 0  # noqa: PLR2004 # as `record` writes


def _digest(document: str) -> bytes:
    return hashlib.sha256(document.encode()).digest()
