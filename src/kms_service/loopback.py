"""Which hosts are this machine: plaintext may go there, and nowhere else unasked."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own by itself; no name is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
