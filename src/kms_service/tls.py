"""The server side of TLS: version 1.2 or later, with client certificates if a CA for them is given."""

import ssl
from pathlib import Path


def server_context(cert_file: Path, key_file: Path, client_ca_file: Path | None) -> ssl.SSLContext:
    """The TLS context of a server with this certificate; with a client CA, clients need a certificate of it.

    Args:
        cert_file: PEM; the server's certificate, then the intermediate ones.
        key_file: PEM, not encrypted.
        client_ca_file: PEM; the CAs whose client certificates are accepted, or None to ask for none.

    Raises:
        OSError: a file cannot be read, is not PEM, or key and certificate do not belong together.
        ValueError: the key is encrypted.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert_file, key_file, password=_refuse_passphrase)
    if client_ca_file is not None:
        context.load_verify_locations(client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _refuse_passphrase() -> str:
    # Without this, OpenSSL would prompt on the terminal and the start would hang.
    raise ValueError("the key is encrypted")


def makes_a_server(cert: Path, key: Path, client_ca: Path | None) -> bool:
    """Whether `server_context` accepts these files."""
    try:
        server_context(cert, key, client_ca)
    except (OSError, ValueError):
        return False
    return True
