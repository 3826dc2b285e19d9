"""Makes what the laptop mode lacks: database, schema, keys, a development token.

Separate from `session`, because it needs many of the service's libraries: they load while the servers start.
"""

import asyncio
import secrets
import socket
from pathlib import Path

from kms_service.access import tokens
from kms_service.access.scopes import Caller, Scope
from kms_service.local.errors import LocalError
from kms_service.local.files import write_private
from kms_service.local.joining import Servers
from kms_service.service.access.records import is_good
from kms_service.settings import Settings, load_settings
from kms_service.store.access.tokens import FoundToken, TokenStore
from kms_service.store.postgres import migrations
from kms_service.store.postgres.database import open_database
from kms_service.telemetry import logs

_DATABASE = "kms_service"


def prepare(servers: Servers) -> Settings:
    """Make what is missing, and return the settings that the service must run with.

    They are the environment's, with PostgreSQL and KMS put in; `.env` is not read. The token, with all
    scopes, is in the folder's `token`, mode 0600.

    Raises:
        SettingsError: a variable is wrong.
        MigrationFailed: the schema cannot be migrated.
        NoKeyAtStart: the keys of the stand-in cannot be used.
        KmsServiceError: the token cannot be made.
    """
    servers.postgres.ensure_database(_DATABASE)
    settings = _settings(servers)
    logs.configure_for_command("WARNING", settings.log_format)
    migrations.migrate(settings.database_url.get_secret_value())
    servers.kms.ensure_aliases(settings.aliases)
    token = servers.folder / "token"
    if not _is_good(token, settings):
        write_private(token, asyncio.run(_create_token(settings)) + "\n")
    return settings


def _settings(servers: Servers) -> Settings:
    return load_settings(
        env_file=None,
        database_url=servers.postgres.url(_DATABASE),
        aws_session_token=None,
        audit_heads_url=str(servers.heads),
        **{name.lower(): value for name, value in servers.kms.environ().items()},
    )


def _is_good(file: Path, settings: Settings) -> bool:
    """Whether `file` holds a token that this database knows, with every scope there is."""
    digest = tokens.digest(file.read_text().strip()) if file.exists() else None
    if digest is None:
        return False
    found = asyncio.run(_find(digest, settings))
    # A token from before MACs is no longer valid.
    return (
        found is not None
        and found.row.mac is not None
        and is_good(found.row, digest, found.now)
        and set(found.row.scopes) >= set(Scope)
    )


async def _find(digest: bytes, settings: Settings) -> FoundToken | None:
    database = open_database(settings, connections=1)
    try:
        return await TokenStore(database).find(digest)
    finally:
        await database.close()


async def _create_token(settings: Settings) -> str:
    from kms_service.bootstrap import build  # noqa: PLC0415 - seldom needed, slow to load

    services = build(settings)
    try:
        await services.check()
        name = f"local-{secrets.token_hex(4)}"  # names are never used twice
        made = await services.tokens.create(
            Caller.without_bounds("cli:local"),
            name,
            list(Scope),
            expires_in=None,
            private_key_reads_per_minute=None,
            signatures_per_minute=None,
            policy=None,
        )
    finally:
        await services.close()
    return made.secret


def usable_port(host: str, port: int) -> int:
    """Return `port`, or a free one for 0.

    Raises:
        LocalError: it is taken; reported here, before the service does so in more words.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            advice = "stop what listens there, or set HOST or PORT"
            raise LocalError(f"cannot listen on {host}, port {port} ({error.strerror}): {advice}") from None
        usable: int = probe.getsockname()[1]
        return usable
