"""The places where heads are kept outside the database: a folder or a bucket, as AUDIT_HEADS_URL says."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from kms_service.errors import KmsServiceError

_NAME = re.compile(r"(?P<left>\d{19})-(?P<seq>\d{1,19})-(?P<mac>[0-9a-f]{64})\.json")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MOST = 10**19 - 1


class HeadsUnavailable(KmsServiceError):
    """Heads outside the database could not be kept or read; the message holds no secret."""

    code = "audit_heads_unavailable"


@dataclass(frozen=True, slots=True)
class KeptHead:
    """The last row of a chain that was known to be committed: its place, and its MAC of 32 bytes."""

    audit_chain_id: UUID
    seq: int
    mac: bytes

    @property
    def name(self) -> str:
        """The name it is kept under, which holds place and MAC; a chain's newest head sorts first."""
        return f"{_MOST - self.seq:019d}-{self.seq}-{self.mac.hex()}.json"

    @property
    def body(self) -> bytes:
        """The same in JSON, for people."""
        told = {
            "event": "audit_head",
            "chain": str(self.audit_chain_id),
            "seq": self.seq,
            "mac": self.mac.hex(),
        }
        return json.dumps(told).encode()


class HeadsPlace(Protocol):
    """Keeps heads, each as a new object that replaces none; reads the newest of each chain.

    Both methods block on a disk or a network: call them in a thread.
    """

    def keep(self, heads: Sequence[KeptHead]) -> None:
        """Keep heads.

        Raises:
            HeadsUnavailable: not all of them are kept.
        """

    def read(self) -> list[KeptHead]:
        """The newest head of each chain.

        Raises:
            HeadsUnavailable: they cannot be read.
        """


class FolderOfHeads:
    """Heads as files in a folder, which may be mounted: they are as safe as the folder is from writers.

    Raises:
        ValueError: the path is not absolute.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_absolute():
            raise ValueError("the path must be absolute")
        self._folder = folder

    def keep(self, heads: Sequence[KeptHead]) -> None:
        """As `HeadsPlace.keep`."""
        try:
            for head in heads:
                path = self._folder / str(head.audit_chain_id) / head.name
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                if not path.exists():
                    path.write_bytes(head.body)
        except OSError as error:
            raise HeadsUnavailable(f"{self._folder}: {error.strerror}") from None

    def read(self) -> list[KeptHead]:
        """As `HeadsPlace.read`."""
        try:
            chains = [each for each in self._folder.iterdir() if each.is_dir()]
            found = [newest_of(chain.name, (each.name for each in chain.iterdir())) for chain in chains]
        except OSError as error:
            raise HeadsUnavailable(f"{self._folder}: {error.strerror}") from None
        return [head for head in found if head is not None]


def newest_of(chain: str, names: Iterable[str]) -> KeptHead | None:
    """The newest of a chain's heads, by name; None if none is the name of a head."""
    matches = [match for match in (_NAME.fullmatch(name) for name in names) if match is not None]
    try:
        heads = [KeptHead(UUID(chain), int(match["seq"]), bytes.fromhex(match["mac"])) for match in matches]
    except ValueError:
        return None
    return max(heads, key=lambda head: head.seq, default=None)


def bucket_and_prefix(url: str) -> tuple[str, str] | None:
    """Bucket and prefix of `s3://bucket/prefix`; None if it is another kind of URL, or a path.

    Raises:
        ValueError: the bucket's name is not valid.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3":
        return None
    if not _BUCKET.fullmatch(parts.netloc):
        raise ValueError("must name a bucket, as in s3://bucket/prefix")
    return parts.netloc, parts.path.strip("/")


def folder_of(url: str) -> Path:
    """The folder of an absolute path, or of `file:///path`.

    Raises:
        ValueError: it is neither.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path) if parts.scheme == "file" and not parts.netloc else url)
    if not path.is_absolute():
        raise ValueError("must be an absolute path, or s3://bucket/prefix")
    return path
