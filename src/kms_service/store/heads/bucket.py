"""Heads as objects of an S3 bucket with object lock, where nobody can remove them while the lock lasts.

Keys are `prefix/<chain>/<name>`, and a chain's newest head sorts first, so that reading lists one object per
chain. All versions are listed, since a delete marker hides an object from a list of the latest ones.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from kms_service.store.heads.place import HeadsUnavailable, KeptHead, newest_of

_LISTED = 100


class BucketOfHeads:
    """Heads in S3, over one boto3 client. The serving role needs s3:PutObject there, and nothing else.

    Args:
        client: makes the S3 client, when it is first needed.
        bucket: the bucket's name.
        prefix: of all keys, without slashes at its ends; may be empty.
    """

    def __init__(self, client: Callable[[], Any], bucket: str, prefix: str) -> None:
        self._make = client
        self._made: Any = None
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def keep(self, heads: Sequence[KeptHead]) -> None:
        """As `HeadsPlace.keep`."""
        for head in heads:
            key = f"{self._prefix}{head.audit_chain_id}/{head.name}"
            self._ask("put_object", Key=key, Body=head.body, ContentType="application/json")

    def read(self) -> list[KeptHead]:
        """As `HeadsPlace.read`."""
        return [self._newest(chain) for chain in self._chains()]

    def _newest(self, chain: str) -> KeptHead:
        head = newest_of(chain, self._first_names(chain))
        if head is None:
            # Somebody put other names before the heads. Ignoring that would make the chain's heads vanish.
            raise HeadsUnavailable(f"{self._bucket}: what lies first under {chain!r} is no head")
        return head

    def _chains(self) -> Iterator[str]:
        place: dict[str, str] = {}
        while True:
            page = self._ask(
                "list_object_versions", Prefix=self._prefix, Delimiter="/", MaxKeys=_LISTED, **place
            )
            for each in page.get("CommonPrefixes", ()):
                yield each["Prefix"].removeprefix(self._prefix).rstrip("/")
            if not page["IsTruncated"]:
                return
            place = {"KeyMarker": page["NextKeyMarker"]}
            if page.get("NextVersionIdMarker"):
                place["VersionIdMarker"] = page["NextVersionIdMarker"]

    def _first_names(self, chain: str) -> list[str]:
        prefix = f"{self._prefix}{chain}/"
        page = self._ask("list_object_versions", Prefix=prefix, MaxKeys=_LISTED)
        return [each["Key"].removeprefix(prefix) for each in page.get("Versions", ())]

    def _ask(self, operation: str, **parameters: Any) -> Any:
        try:
            if self._made is None:
                self._made = self._make()
            return getattr(self._made, operation)(Bucket=self._bucket, **parameters)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "Unknown")
            raise HeadsUnavailable(f"{self._bucket}: S3 says {code}") from None
        except BotoCoreError as error:
            raise HeadsUnavailable(f"{self._bucket}: {type(error).__name__}") from None
