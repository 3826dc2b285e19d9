"""Where PostgreSQL is and how it is dialled: what DATABASE_URL says, with ours beside it."""

from kms_service.database_settings import libpq_parameters

CONNECT_SECONDS = 2
# Of what a dead network does to a connection; the statement's own time-out is the session's.
_KEPT_ALIVE = {
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "3000",
}


def address(database_url: str, *, standby: bool = False) -> dict[str, str]:
    """All of libpq's parameters for a connection; the password is among them.

    What DATABASE_URL says goes before what is ours, but for the encoding, on which the code relies. Nothing
    goes to the server at startup that PgBouncer refuses. Of several hosts, one that
    takes writes is meant; with `standby` the first that answers, so that a standby may serve.
    """
    given = libpq_parameters(database_url)
    ours = {"application_name": "kms-service", "connect_timeout": str(CONNECT_SECONDS), **_KEPT_ALIVE}
    if hosts(given) > 1 and not standby:
        ours["target_session_attrs"] = "read-write"
    return {**ours, **given, "client_encoding": "UTF8"}


def hosts(parameters: dict[str, str]) -> int:
    """How many hosts are tried, one after the other."""
    return 1 + (parameters.get("hostaddr") or parameters.get("host", "")).count(",")
