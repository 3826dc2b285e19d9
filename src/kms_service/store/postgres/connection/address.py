"""Where PostgreSQL is and how to connect: DATABASE_URL's parameters, with ours where it has none."""

from kms_service.database_settings import libpq_parameters

CONNECT_SECONDS = 2
# These end a connection whose network is dead; the session has its own time-out for statements.
_KEPT_ALIVE = {
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "3000",
}


def address(database_url: str, *, standby: bool = False) -> dict[str, str]:
    """All of libpq's parameters for a connection, including the password.

    DATABASE_URL's parameters take precedence over ours, except for the encoding, on which the code relies.
    The server is sent no startup parameter that PgBouncer refuses. Of several hosts, the first that takes
    writes is used; with `standby`, the first that answers, so that a standby may serve.
    """
    given = libpq_parameters(database_url)
    ours = {"application_name": "kms-service", "connect_timeout": str(CONNECT_SECONDS), **_KEPT_ALIVE}
    if hosts(given) > 1 and not standby:
        ours["target_session_attrs"] = "read-write"
    return {**ours, **given, "client_encoding": "UTF8"}


def hosts(parameters: dict[str, str]) -> int:
    """How many hosts are tried, one after the other."""
    return 1 + (parameters.get("hostaddr") or parameters.get("host", "")).count(",")
