"""Reads the heads of audit chains from the log stream, which is out of the database's reach."""

import json
import uuid
from collections.abc import Iterable

from kms_service.errors import InvalidRequest
from kms_service.service.audit.chains import Head

EVENT = "audit_head"
_MAC_BYTES = 32


def read_heads(lines: Iterable[str]) -> dict[uuid.UUID, Head]:
    """The newest head of each chain in a log of JSON lines; other lines are skipped.

    Raises:
        InvalidRequest: no line holds a head, so the log would prove nothing.
    """
    heads: dict[uuid.UUID, Head] = {}
    for line in lines:
        found = _head(line)
        if found is not None and found[1].seq >= heads.get(found[0], found[1]).seq:
            heads[found[0]] = found[1]
    if not heads:
        raise InvalidRequest("the log has no audit_head events; LOG_FORMAT=json writes them", "heads")
    return heads


def _head(line: str) -> tuple[uuid.UUID, Head] | None:
    if EVENT not in line:
        return None
    try:
        # Log collectors put a prefix before each line.
        members = json.loads(line[line.index("{") :])
        if members["event"] != EVENT:
            return None
        head = Head(int(members["seq"]), bytes.fromhex(members["mac"]))
        return (uuid.UUID(members["chain"]), head) if len(head.mac) == _MAC_BYTES else None
    except (ValueError, KeyError, TypeError):
        return None
