"""The heads that commands check the log against: from the log stream, and from AUDIT_HEADS_URL."""

from collections.abc import Callable
from typing import Any, TextIO
from uuid import UUID

import click

from kms_service.bootstrap import Services
from kms_service.service.audit.chains import Head
from kms_service.service.audit.heads import read_heads


def log_option(more: str) -> Callable[[Any], Any]:
    """The option that takes the log stream; `more` ends its help."""
    return click.option(
        "--heads",
        "log",
        type=click.File(encoding="utf-8", errors="replace"),
        help=f"The service's JSON log (- for standard input){more}",
    )


async def read_known_heads(services: Services, log: TextIO | None) -> tuple[dict[UUID, Head], str | None]:
    """The newest head of each chain that is known outside the database, and where these were found.

    Raises:
        InvalidRequest: the log stream contains no head.
        HeadsUnavailable: the place that AUDIT_HEADS_URL names cannot be read.
    """
    heads = {} if log is None else read_heads(log)
    places = [] if log is None else ["the log stream"]
    if services.heads_outside is not None:
        places.append(str(services.settings.audit_heads_url))
        for chain, head in (await services.heads_outside.read()).items():
            if chain not in heads or head.seq >= heads[chain].seq:
                heads[chain] = head
    return heads, " and ".join(places) or None
