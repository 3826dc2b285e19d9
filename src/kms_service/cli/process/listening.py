"""The sockets that a process listens on, bound before anything else is started."""

import errno
import socket
from collections.abc import Iterator

from kms_service.errors import SettingsError

BACKLOG = 2048
_DUAL_STACK = "::"
_ADVICE = "Choose an address of this machine and a port that is free and allowed."


def bind(host: str, port: int, variable: str) -> list[socket.socket]:
    """Sockets bound to every address that `host` names, not yet listening; `::` is IPv6 and IPv4 together.

    With port 0, all get the port that the system picks for the first.

    Args:
        host: an address, or a name of this machine.
        port: 0 to 65535.
        variable: the setting to name when the port cannot be had.

    Raises:
        SettingsError: an address is not this machine's, or the port is taken or not allowed.
    """
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host):
            sockets.append(_bind(family, address, port))
            port = sockets[0].getsockname()[1]
    except OSError as error:
        for each in sockets:
            each.close()
        problem = f"{variable}: {port} on {host} cannot be listened on: {error.strerror}"
        raise SettingsError([problem], _ADVICE) from error
    return sockets


def url(scheme: str, host: str, sockets: list[socket.socket]) -> str:
    """The URL of these sockets, for people."""
    port = sockets[0].getsockname()[1]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _addresses(host: str) -> Iterator[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    seen = set()
    for family, _, _, _, address in found:
        if (family, address[0]) not in seen:
            seen.add((family, address[0]))
            yield family, str(address[0])
    if not seen:
        raise OSError(errno.EADDRNOTAVAIL, "no address of this machine")


def _bind(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    each = socket.socket(family)
    try:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != _DUAL_STACK))
        each.bind((address, port))
    except OSError:
        each.close()
        raise
    return each
