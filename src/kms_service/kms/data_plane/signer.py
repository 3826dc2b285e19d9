"""AWS Signature Version 4 for the one kind of request that KMS takes: a POST of JSON, without a query.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
Tests compare it with botocore's signer, which takes ten times as long: 0.16 ms, twice a whole call here.
"""

import hmac
import time
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote, urlsplit

CONTENT_TYPE = "application/x-amz-json-1.1"
_TARGET = "TrentService"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """AWS credentials; all but the id are secret, and this package owns them."""

    access_key_id: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False)


class Signer:
    """Signs requests to one endpoint of KMS.

    Args:
        endpoint: http(s) URL.
        region: the Region that requests are signed for.
    """

    def __init__(self, endpoint: str, region: str) -> None:
        parts = urlsplit(endpoint)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        standard = parts.port in {None, _DEFAULT_PORTS[parts.scheme]}
        self._host = host if standard else f"{host}:{parts.port}"
        self._path = quote(parts.path or "/", safe="/~")
        self._scheme = parts.scheme
        self._region = region
        # Kept, since deriving it is four of a signature's five HMACs; it changes with the day and the secret.
        self._derived: tuple[str, str, bytes] = ("", "", b"")

    @property
    def url(self) -> str:
        """Where signed requests go: the endpoint with a path, without the parts that no signature covers."""
        return f"{self._scheme}://{self._host}{self._path}"

    def sign(self, keys: AccessKeys, operation: str, body: bytes, now: float) -> dict[str, str]:
        """The headers of a request, `Authorization` among them.

        Args:
            keys: the credentials to sign with.
            operation: KMS's name for it, such as `Decrypt`.
            body: JSON; may hold a plaintext DEK, of which the signature reveals nothing.
            now: Unix time.
        """
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        headers = {
            "content-type": CONTENT_TYPE,
            "host": self._host,
            "x-amz-date": date,
            **({} if keys.session_token is None else {"x-amz-security-token": keys.session_token}),
            "x-amz-target": f"{_TARGET}.{operation}",
        }
        # The signature wants the headers sorted by name, and they are.
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"POST\n{self._path}\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"
        scope = f"{date[:8]}/{self._region}/kms/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key(keys.secret_key, date[:8]), text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access_key_id}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def _key(self, secret: str, day: str) -> bytes:
        if self._derived[:2] != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, "kms", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._derived = (secret, day, key)
        return self._derived[2]
