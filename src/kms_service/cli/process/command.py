"""What every command starts with: settings, logs, services, and who is acting."""

import os
import pwd
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import click
from sqlalchemy import make_url

from kms_service import context
from kms_service.access.scopes import Caller
from kms_service.bootstrap import Services, build
from kms_service.errors import InvalidRequest
from kms_service.settings import Settings, load_settings
from kms_service.store.postgres import schema
from kms_service.telemetry import logs


@asynccontextmanager
async def operator_services(region: str | None = None, **overrides: Any) -> AsyncIterator[Services]:
    """The services of a command, closed at the end.

    Args:
        region: the only Region whose KMS is called; None for those of the settings.
        overrides: settings that the command's own options have set.

    Raises:
        SettingsError: lists every missing or wrong setting.
        SchemaBehind: the database lacks a migration.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    settings = load_settings(**overrides)
    if region is not None:
        settings = settings.alone_in(region)
    logs.configure_for_command("WARNING", settings.log_format)
    context.request_id.set(uuid.uuid4().hex)
    services = build(settings)
    try:
        await schema.check(services.database)
        yield services
    finally:
        await services.close()


def operator(services: Services) -> Caller:
    """Whoever runs this command: the system's user at the database's login. No token bounds them."""
    return Caller.without_bounds(f"cli:{_account()}@{_database_login(services.settings)}"[:64])


async def key_arn(services: Services, key: str | None) -> str | None:
    """The ARN of a key that an option names by ARN or alias; an ARN is taken without asking KMS.

    Raises:
        click.ClickException: it names no key of this Region, or the alias may not be looked up.
        KmsThrottled, KmsUnavailable: the alias could not be looked up.
    """
    try:
        return None if key is None else await services.rewrap_jobs.key_arn(key)
    except InvalidRequest as error:
        raise click.ClickException(f"{key} {error}") from None


def _account() -> str:
    # By the operating system's user id: anybody can set LOGNAME and USER.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # A container's uid need not be in its passwd file.
        return f"uid-{os.getuid()}"


def _database_login(settings: Settings) -> str:
    return make_url(settings.database_url.get_secret_value()).username or "unknown"
