"""Callers of the service over real HTTP, for fixtures of any scope."""

import asyncio
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from clock import Clock
from event_loop import complete, loop
from kms_endpoint import KmsEndpoint
from kms_service.access.scopes import Scope
from kms_service.api.app import create_app
from kms_service.bootstrap import Services, build
from kms_service.service.audit.log import Event
from kms_service.settings import Settings
from kms_service.store.postgres.database import Database, open_database
from kms_service.telemetry import logs
from openapi_check import assert_documented
from waiting import wait_until
from wiring import TESTER, running_services, with_role

ALL = tuple(Scope)
_numbers = count(1)
_NO_LIMITS = httpx.Limits(max_connections=None)


def make_token(services: Services, *scopes: Scope) -> str:
    """A new token with these scopes, made as an operator makes it."""
    name = f"caller-{next(_numbers)}"
    made = complete(
        services.tokens.create(
            TESTER,
            name,
            scopes,
            expires_in=None,
            private_key_reads_per_minute=None,
            signatures_per_minute=None,
            policy=None,
        )
    )
    return made.secret


@dataclass
class Service:
    """A running service, and a caller who holds every scope unless told otherwise.

    The process has only the database rights of `kms_serve`; `operator` makes tokens and canaries, and `owner`
    is the same database with every right. What the process remembers ages by `clock`.
    """

    services: Services
    owner: Database
    kms: KmsEndpoint
    app: FastAPI
    client: httpx.Client
    token: str = field(repr=False)
    operator: Services = field(repr=False)
    clock: Clock

    def call(self, method: str, path: str, *, token: str | None = None, **content: Any) -> httpx.Response:
        """Send one request, with the token of every scope or another; an empty one sends no header."""
        headers: Mapping[str, str] = content.pop("headers", {})
        bearer = self.token if token is None else token
        sent = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        response = self.client.request(method, path, headers={**sent, **headers}, **content)
        assert_documented(self.app, response)
        return response

    def create(self, user_id: str) -> httpx.Response:
        """`POST /wallets`."""
        return self.call("POST", "/wallets", json={"userId": user_id})

    def unseal(self) -> None:
        """Unseal as an operator does, and have the service notice at once."""
        complete(self.operator.seal.unseal(TESTER))
        complete(self.services.shared_state.poll())


@contextmanager
def serving(
    settings: Settings, endpoint: KmsEndpoint, token: str | None = None, *, clock: Clock | None = None
) -> Iterator[Service]:
    """Run the whole application with its background work, on its own loopback port.

    Args:
        settings: with the database owner's URL.
        endpoint: the KMS of these settings.
        token: the caller's, if the database has one already; else one is made.
        clock: another service's, if both must age together.
    """
    clock = clock or Clock()
    logs.configure("INFO", "json", io.StringIO())
    owner = open_database(settings, connections=2)
    with (
        _operating(with_role(settings, "kms_operate")) as operator,
        running_services(with_role(settings, "kms_serve"), clock) as serving,
    ):
        app = create_app(serving, owns_process=False)
        if token is None:
            complete(
                serving.audit.record(TESTER, Event("test.begin"))
            )  # opens its audit chain, which costs one Encrypt
        services = replace(
            serving,
            settings=settings,
            tokens=operator.tokens,
            policies=operator.policies,
            canaries=operator.canaries,
        )
        with _server(app) as url, httpx.Client(base_url=url, timeout=60, limits=_NO_LIMITS) as client:
            made = token or make_token(services, *ALL)
            yield Service(services, owner, endpoint, app, client, made, operator, clock)
    complete(owner.close())


@contextmanager
def _operating(settings: Settings) -> Iterator[Services]:
    """An operator's services: they know the keys of KMS, and ask the database only when they are used."""
    services = build(settings)
    try:
        complete(services.pool.refresh())
        yield services
    finally:
        complete(services.close())


@contextmanager
def _server(app: FastAPI) -> Iterator[str]:
    config = uvicorn.Config(app, port=0, access_log=False, log_config=None, server_header=False)
    server = uvicorn.Server(config)
    served = asyncio.run_coroutine_threadsafe(server.serve(), loop())
    try:
        wait_until(lambda: server.started or served.done())
        assert server.started, "the server did not start"
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        served.result()
