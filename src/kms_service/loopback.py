"""Which hosts are this machine itself, and which of its ports are free.

Only connections to these hosts may go without TLS by default.
"""

import ipaddress
import random
import socket

# Below what Linux (32768) and macOS (49152) give to outgoing connections, which could take such a port
# between the look and the use.
_PORTS = range(10_000, 32_768)


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or a loopback address; no name is resolved."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nobody listens, and which no outgoing connection is given."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.choice(_PORTS)))  # noqa: S311 - two who look at once should differ
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port
