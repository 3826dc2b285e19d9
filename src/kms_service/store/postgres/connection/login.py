"""Who logs in to PostgreSQL: DATABASE_URL's own user, a secret of AWS Secrets Manager, or an RDS IAM token.

boto3 runs in threads, with short time-outs: its calls would block the event loop (invariant 12).
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from psycopg import OperationalError
from pydantic import SecretStr

from kms_service.database_settings import DatabaseSettings

# Between two reads of a secret: while PostgreSQL is unavailable, every connection is refused.
RENEW_SECONDS = 2.0
_PORT = "5432"


class Login(Protocol):
    """Adds user and password to libpq's parameters."""

    async def merge(self, parameters: dict[str, str]) -> dict[str, str]:
        """The parameters with a user and a password, which is a secret.

        Raises:
            psycopg.OperationalError: there are none; the message says why, in one line.
        """
        ...

    async def renew(self) -> bool:
        """Look for another password after a login was refused; returns whether to try again."""
        ...


class UrlLogin:
    """Logs in as DATABASE_URL says."""

    async def merge(self, parameters: dict[str, str]) -> dict[str, str]:
        """As `Login.merge`."""
        return parameters

    async def renew(self) -> bool:
        """As `Login.renew`: there is no other password."""
        return False


class SecretLogin:
    """Logs in as a secret of AWS Secrets Manager says, in the form that RDS uses.

    Args:
        read: returns the secret's JSON text; blocks.
    """

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read
        self._known: dict[str, str] | None = None
        self._read_at = -RENEW_SECONDS
        self._reading = asyncio.Lock()

    async def merge(self, parameters: dict[str, str]) -> dict[str, str]:
        """As `Login.merge`."""
        async with self._reading:
            if self._known is None:
                await self._look()
        known = dict(self._known or {})
        if parameters.get("host") or parameters.get("hostaddr"):
            # A secret of RDS names its own server, but DATABASE_URL may name a proxy in front of it.
            known = {name: known[name] for name in ("user", "password")}
        return {**parameters, **known}

    async def renew(self) -> bool:
        """As `Login.renew`: whether the secret has changed."""
        before = self._known
        async with self._reading:
            if self._known == before and time.monotonic() - self._read_at >= RENEW_SECONDS:
                await self._look()
        return self._known != before

    async def _look(self) -> None:
        self._read_at = time.monotonic()
        self._known = _parse(await asyncio.to_thread(_ask, self._read))


class IamLogin:
    """Logs in by tokens signed with AWS credentials, valid for 15 minutes: each connection gets its own.

    Args:
        sign: returns a token for a host, a port and a user; may block while credentials are renewed.
    """

    def __init__(self, sign: Callable[[str, int, str], str]) -> None:
        self._sign = sign

    async def merge(self, parameters: dict[str, str]) -> dict[str, str]:
        """As `Login.merge`."""
        where = parameters["host"], int(parameters.get("port") or _PORT), parameters["user"]
        token = await asyncio.to_thread(_ask, lambda: self._sign(*where))
        return {**parameters, "password": token}

    async def renew(self) -> bool:
        """As `Login.renew`: a new token would be refused too."""
        return False


def login_of(settings: DatabaseSettings) -> Login:
    """The login that the settings name; no I/O yet."""
    if settings.database_secret_id is not None:
        return SecretLogin(_reader(settings, settings.database_secret_id))
    return IamLogin(_signer(settings)) if settings.database_iam_auth else UrlLogin()


def _reader(settings: DatabaseSettings, secret_id: str) -> Callable[[], str]:
    def read() -> str:
        answer: str = _client(settings, "secretsmanager").get_secret_value(SecretId=secret_id)["SecretString"]
        return answer

    return read


def _signer(settings: DatabaseSettings) -> Callable[[str, int, str], str]:
    def sign(host: str, port: int, user: str) -> str:
        token: str = _client(settings, "rds").generate_db_auth_token(host, port, user)
        return token

    return sign


def _client(settings: DatabaseSettings, service: str) -> Any:
    import boto3  # noqa: PLC0415 # 20 MB, only for processes that log in this way
    from botocore.config import Config  # noqa: PLC0415 # as boto3

    session = boto3.Session(
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=_reveal(settings.aws_secret_access_key),
        aws_session_token=_reveal(settings.aws_session_token),
        region_name=settings.aws_region,
    )
    config = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2})
    return session.client(service, config=config)  # type: ignore[call-overload]


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _ask(ask: Callable[[], str]) -> str:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 # as boto3

    try:
        return ask()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "Unknown")
        raise OperationalError(f"the database's login cannot be had from AWS: {code}") from None
    except (BotoCoreError, KeyError, ValueError) as error:
        name = type(error).__name__
        raise OperationalError(f"the database's login cannot be had from AWS: {name}") from None


def _parse(secret: str) -> dict[str, str]:
    try:
        said = json.loads(secret)
        known = {"user": said["username"], "password": said["password"]}
    except (ValueError, KeyError, TypeError):
        raise OperationalError("the secret of DATABASE_SECRET_ID has no username and password") from None
    more = {name: said.get(name) for name in ("host", "port")}
    return {name: str(value) for name, value in {**known, **more}.items() if value}
