"""Reads the lock files."""

import re
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).resolve().parents[1]
PINNED = re.compile(
    r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; ([^\\]+?))? \\$((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)",
    re.MULTILINE,
)


def locked_packages(name: str) -> dict[str, set[Version]]:
    """The packages of a lock, with the versions that it pins."""
    found: dict[str, set[Version]] = {}
    for package, version, _, _ in PINNED.findall((PROJECT / "locks" / name).read_text()):
        found.setdefault(canonicalize_name(package), set()).add(Version(version))
    return found
