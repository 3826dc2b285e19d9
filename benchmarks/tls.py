"""TLS to PostgreSQL and to the KMS stand-in: a certificate for the run, and a process in front of each.

    python -m benchmarks.tls CERTIFICATE KEY http|postgres TARGET_PORT

prints the port on which it accepts TLS, and passes what comes to TARGET_PORT. PostgreSQL's wheel is built
without TLS. For the service, its end of the connections costs the same.
"""

import asyncio
import ipaddress
import ssl
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HTTP, POSTGRES = "http", "postgres"
_ASKS_FOR_TLS_BYTES = 8
_HOST = "127.0.0.1"
_PIECE = 64 * 1024


def certify(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, valid for a day, and its key, as two files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _HOST)]), datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(_HOST))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(address, critical=False)
        .sign(key, SHA256())
    )
    certificate, private = folder / "server.crt", folder / "server.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private


async def terminate_tls(certificate: str, key: str, protocol: str, target_port: int) -> None:
    """Accept TLS and pass its content on, until this process ends."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await relay(reader, writer)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if protocol == POSTGRES:
            # Its clients request TLS in plaintext, and start it once that is granted.
            await reader.readexactly(_ASKS_FOR_TLS_BYTES)
            writer.write(b"S")
            await writer.start_tls(context)
        inner = await asyncio.open_connection(_HOST, target_port)
        await asyncio.wait(
            (asyncio.create_task(_pass(reader, inner[1])), asyncio.create_task(_pass(inner[0], writer))),
            return_when=asyncio.FIRST_COMPLETED,
        )
        for end in (writer, inner[1]):
            end.close()

    server = await asyncio.start_server(serve, _HOST, 0, ssl=context if protocol == HTTP else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()


if __name__ == "__main__":
    uvloop.run(terminate_tls(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
