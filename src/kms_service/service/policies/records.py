"""How a version of a policy is represented in its MAC and in the audit log."""

import hashlib


def fields(name: str, version: int, document: str) -> tuple[str, str, bytes]:
    """What the MAC of a version covers: the policy's name, the version, and the SHA-256 of the document."""
    return name, str(version), _digest(document)


def record(name: str, version: int, document: str) -> str:
    """The detail of the audit row that records the setting of a version."""
    return f"{name} {version} sha256:{_digest(document).hex()}"


def recorded_version(detail: str) -> int:
    """The version in such a detail; 0 if it is another text."""
    parts = detail.split(" ")
    return int(parts[1]) if len(parts) == 3 and parts[1].isascii() and parts[1].isdecimal() else 0  # noqa: PLR2004 # as `record` writes


def _digest(document: str) -> bytes:
    return hashlib.sha256(document.encode()).digest()
