#!/usr/bin/env python3
"""Pin the base images by digest to what their tags name now. Needs only Python and the images' registry.

    scripts/pin-images.py            # writes name:tag@sha256:... into Dockerfile and docker-compose.yml
    scripts/pin-images.py --check    # writes nothing; exit code 1 where a pin is missing or behind its tag

Exit code 69: the registry gave no answer, or a wrong one. --registry names a mirror with the same content.
"""

import argparse
import hashlib
import json
import re
import sys
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

FILES = ("Dockerfile", "docker-compose.yml")
# Our own images have no tag here; only other publishers' images have.
REFERENCE = re.compile(r"(?m)^(ARG BASE=|\s+image: )([a-z0-9/._-]+):([\w.-]+)(?:@(sha256:[0-9a-f]{64}))?$")
KINDS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
SECONDS = 30


class Unreachable(Exception):
    """The registry does not say what a tag names."""


def digest_of(registry: str, name: str, tag: str) -> str:
    """The digest of the index that this tag names, checked against the bytes that the registry sends.

    Raises:
        Unreachable: the registry gives no answer, or one whose digest is not that of its bytes.
    """
    repository = name if "/" in name else f"library/{name}"
    url = f"{registry}/v2/{repository}/manifests/{tag}"
    try:
        told, content = _get(url, {"Accept": ", ".join(KINDS)})
    except (OSError, ValueError, KeyError) as error:
        raise Unreachable(f"{name}:{tag}: {error}") from None
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if told != digest:
        raise Unreachable(f"{name}:{tag}: the registry tells of {told}, and gives {digest}")
    return digest


def _get(url: str, headers: dict[str, str]) -> tuple[str | None, bytes]:
    try:
        return _ask(url, headers)
    except urllib.error.HTTPError as refusal:
        challenge = refusal.headers.get("WWW-Authenticate", "")
        if refusal.code != HTTPStatus.UNAUTHORIZED or not challenge.startswith("Bearer "):
            raise
    members = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = members.pop("realm")
    _, granted = _ask(f"{realm}?{urlencode(members)}", {})
    return _ask(url, {**headers, "Authorization": f"Bearer {json.loads(granted)['token']}"})


def _ask(url: str, headers: dict[str, str]) -> tuple[str | None, bytes]:
    if not url.startswith(("https://", "http://")):
        raise ValueError("its token is not to be had over HTTP")
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 # checked above
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 # as above
        return answer.headers.get("Docker-Content-Digest"), answer.read()


def pin(text: str, registry: str) -> str:
    """`text` with every base image pinned to what its tag names now."""
    return REFERENCE.sub(
        lambda found: f"{found[1]}{found[2]}:{found[3]}@{digest_of(registry, found[2], found[3])}", text
    )


def main() -> int:
    """Read the command line, and pin or check."""
    parser = argparse.ArgumentParser(description="Pin the base images to what their tags name now.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a pin is behind")
    parser.add_argument("--registry", default="https://registry-1.docker.io", help="where to ask")
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[1])
    options = parser.parse_args()
    behind = 0
    for file in (options.folder / name for name in FILES):
        text = file.read_text()
        try:
            now = pin(text, options.registry.rstrip("/"))
        except Unreachable as error:
            print(f"pin-images: {error}", file=sys.stderr)
            return 69
        if now != text:
            behind += 1
            print(f"{file.name} {'is behind its tags' if options.check else 'is pinned anew'}")
            if not options.check:
                file.write_text(now)
    return 1 if behind and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
