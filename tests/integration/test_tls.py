"""TLS with real handshakes against a real `kms-service serve`, and the settings that make it."""

import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from authority import CLIENT, SERVER, Authority
from kms_endpoint import KmsEndpoint
from kms_service.errors import SettingsError
from kms_service.settings import Settings, load_settings
from server_process import environment, serve
from wiring import FreshDatabase


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "theirs")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("server", SERVER)


def _client(authority: Authority, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.certificate_file)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


@pytest.fixture(scope="module")
def mutual(
    fresh_database: FreshDatabase, authority: Authority, certificate: tuple[Path, Path]
) -> Iterator[tuple[str, ssl.SSLContext]]:
    """The address of a server that wants client certificates, and a client that has one."""
    client = _client(authority, authority.issue("client", CLIENT))
    with fresh_database() as url, KmsEndpoint() as kms:
        kms.add_pool("Empressa-wallet-key", 10)
        env = environment(
            url,
            kms,
            TLS_CERT_FILE=certificate[0],
            TLS_KEY_FILE=certificate[1],
            TLS_CLIENT_CA_FILE=authority.certificate_file,
        )
        with serve(env, client) as server:
            yield server.url, client


def test_a_client_with_a_certificate_is_served(mutual: tuple[str, ssl.SSLContext]) -> None:
    url, client = mutual
    assert httpx.get(f"{url}/livez", verify=client).json() == {"status": "ok"}
    # A certificate opens the connection and nothing else: a token is still asked for.
    assert httpx.get(f"{url}/wallets/alice", verify=client).status_code == 401


def _is_refused(url: str, client: ssl.SSLContext) -> None:
    # In TLS 1.3 the refusal of a client's certificate reaches the client after its own handshake is done.
    with pytest.raises((ssl.SSLError, ConnectionError, httpx.TransportError)):
        httpx.get(f"{url}/livez", verify=client)


def test_a_client_without_a_certificate_is_refused(
    mutual: tuple[str, ssl.SSLContext], authority: Authority
) -> None:
    _is_refused(mutual[0], _client(authority))


def test_a_certificate_from_another_authority_is_refused(
    mutual: tuple[str, ssl.SSLContext], authority: Authority, stranger: Authority
) -> None:
    _is_refused(mutual[0], _client(authority, stranger.issue("client", CLIENT)))


def test_a_server_certificate_is_not_accepted_from_a_client(
    mutual: tuple[str, ssl.SSLContext], authority: Authority, certificate: tuple[Path, Path]
) -> None:
    _is_refused(mutual[0], _client(authority, certificate))


def test_the_client_can_tell_who_serves(mutual: tuple[str, ssl.SSLContext], stranger: Authority) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{mutual[0]}/livez", verify=_client(stranger))


def _connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_current_tls_versions_are_accepted(
    mutual: tuple[str, ssl.SSLContext], authority: Authority, version: str
) -> None:
    client = _client(authority, authority.issue("client", CLIENT))
    client.minimum_version = client.maximum_version = ssl.TLSVersion[version]
    with (
        _connect(mutual[0]) as plain,
        client.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        assert secured.version() == version.replace("_", ".")


def test_tls_1_1_is_refused(mutual: tuple[str, ssl.SSLContext], authority: Authority) -> None:
    client = _client(authority, authority.issue("client", CLIENT))
    client.set_ciphers("ALL:@SECLEVEL=0")  # or this client would not even offer it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        _connect(mutual[0]) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        client.wrap_socket(plain, server_hostname="127.0.0.1")


def test_plain_http_gets_no_answer(mutual: tuple[str, ssl.SSLContext]) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{mutual[0].replace('https', 'http')}/livez")


def test_without_a_client_ca_several_workers_serve_everybody(
    database_url: str, kms_endpoint: KmsEndpoint, authority: Authority, certificate: tuple[Path, Path]
) -> None:
    env = environment(
        database_url, kms_endpoint, TLS_CERT_FILE=certificate[0], TLS_KEY_FILE=certificate[1], WORKERS=2
    )
    client = _client(authority)
    with serve(env, client) as server:
        assert httpx.get(f"{server.url}/readyz", verify=client).status_code == 200


def _problems(settings: Settings, **files: Path) -> list[str]:
    """The problems of these files, on top of settings that have none."""
    good = settings.model_dump(exclude={name for name in Settings.model_fields if name.startswith("tls_")})
    with pytest.raises(SettingsError) as error:
        load_settings(None, **{**good, **files})
    assert error.value.exit_code == 78
    for path in files.values():
        assert str(path) not in str(error.value)
    return list(error.value.problems)


def test_each_file_that_cannot_be_read_is_listed(settings: Settings, tmp_path: Path) -> None:
    problems = _problems(
        settings,
        tls_cert_file=tmp_path / "none.crt",
        tls_key_file=tmp_path / "none.key",
        tls_client_ca_file=tmp_path,
    )
    assert problems == [
        "TLS_CERT_FILE: cannot be read: no such file or directory",
        "TLS_KEY_FILE: cannot be read: no such file or directory",
        "TLS_CLIENT_CA_FILE: cannot be read: is a directory",
    ]


def test_a_key_of_another_certificate_is_a_problem(
    settings: Settings, authority: Authority, certificate: tuple[Path, Path]
) -> None:
    (problem,) = _problems(
        settings, tls_cert_file=certificate[0], tls_key_file=authority.issue("other", SERVER)[1]
    )
    assert problem.startswith("TLS_KEY_FILE: must be the unencrypted PEM key")


def test_an_encrypted_key_is_a_problem_and_no_question_at_the_terminal(
    settings: Settings, authority: Authority
) -> None:
    certificate, key = authority.issue("locked", SERVER, b"passphrase")
    (problem,) = _problems(settings, tls_cert_file=certificate, tls_key_file=key)
    assert problem.startswith("TLS_KEY_FILE: must be the unencrypted PEM key")


def test_half_of_a_pair_is_a_problem(settings: Settings, certificate: tuple[Path, Path]) -> None:
    for half in ({"tls_cert_file": certificate[0]}, {"tls_key_file": certificate[1]}):
        (problem,) = _problems(settings, **half)
        assert problem.startswith("TLS_KEY_FILE: set both TLS_CERT_FILE and this")


def test_client_certificates_need_tls_and_certificates(
    settings: Settings, authority: Authority, certificate: tuple[Path, Path]
) -> None:
    (problem,) = _problems(settings, tls_client_ca_file=authority.certificate_file)
    assert problem.startswith("TLS_CLIENT_CA_FILE: client certificates need TLS")
    (problem,) = _problems(
        settings, tls_cert_file=certificate[0], tls_key_file=certificate[1], tls_client_ca_file=certificate[1]
    )
    assert problem == "TLS_CLIENT_CA_FILE: must contain PEM certificates"
