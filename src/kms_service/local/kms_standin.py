"""The KMS stand-in as a child process, for laptops and tests."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kms_service.local import tether
from kms_service.local.errors import LocalError

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

REGION = "us-east-1"
_CREDENTIAL = "local"
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class KmsStandin:
    """A running stand-in."""

    url: str
    pid: int

    def environ(self) -> dict[str, str]:
        """The variables that make boto3 use it: endpoint, Region, credentials that open nothing."""
        return {
            "AWS_ENDPOINT_URL_KMS": self.url,
            "AWS_ENDPOINT_URL_STS": self.url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": _CREDENTIAL,
            "AWS_SECRET_ACCESS_KEY": _CREDENTIAL,
        }

    def client(self) -> "KMSClient":
        """A boto3 client for it, whatever the environment says."""
        import boto3  # noqa: PLC0415 - not needed to start the stand-in, and slow to load

        return boto3.client(
            "kms",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=_CREDENTIAL,
            aws_secret_access_key=_CREDENTIAL,
        )

    def ensure_aliases(self, aliases: Sequence[str]) -> int:
        """Make a key, rotated yearly, for each alias that has none; return how many were made."""
        client = self.client()
        pages = client.get_paginator("list_aliases").paginate()
        present = {alias["AliasName"] for page in pages for alias in page["Aliases"]}
        missing = [alias for alias in aliases if alias not in present]
        for alias in missing:
            key_arn = client.create_key(Description=f"Stand-in for {alias}")["KeyMetadata"]["Arn"]
            client.enable_key_rotation(KeyId=key_arn)
            client.create_alias(AliasName=alias, TargetKeyId=key_arn)
        return len(missing)


@contextlib.contextmanager
def kms_standin(folder: Path) -> Iterator[KmsStandin]:
    """Run a stand-in on loopback, on a free port, for as long as the context lasts.

    Its keys are in `folder/kms-keys.json` (mode 0600) and outlast it; `folder/cloudtrail` gets files as
    CloudTrail would write them. If this process is killed, it stops.

    Raises:
        LocalError: it did not start.
    """
    folder = folder.resolve()
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    process = tether.start(
        [
            *(sys.executable, "-m", "kms_service.local.kms.server"),
            *("--keys", folder / "kms-keys.json", "--cloudtrail", folder / "cloudtrail"),
        ],
        on_parent_death=signal.SIGTERM,
        account=None,
        workspace=folder,
        environ={name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield KmsStandin(_read_url(process), process.pid)
        finally:
            _stop(process)


def _read_url(process: subprocess.Popen[bytes]) -> str:
    if process.stdout is None or process.stderr is None:
        raise AssertionError
    url = process.stdout.readline().decode().strip()
    if not url:
        reason = process.stderr.read().decode(errors="replace").strip().splitlines()
        raise LocalError(f"the KMS stand-in did not start: {(reason or ['no output'])[-1]}")
    return url


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
