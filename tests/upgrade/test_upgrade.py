"""An upgrade from the last release: rows of every kind, migrated, and both versions serving side by side."""

import base64
import hashlib
import json
import os
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import hpke
from kms_endpoint import KmsEndpoint
from kms_service.local.postgres import PostgresServer
from server_process import ServerProcess, serve
from upgrade_versions import OWNER, PROJECT, Version, export_last_release
from vectors.rows import associated_data, seal
from waiting import wait_until

PREFIX, POOL_SIZE = "Empressa-wallet-key", 10
SCOPES = [
    "wallets:create", "wallets:read", "wallets:import", "wallets:sign", "private-keys:read",
    "private-keys:export", "pool:read", "pool:admin", "rotations:read", "rotations:admin", "audit:read",
]  # fmt: skip
IMPORTED = hashlib.sha256(b"imported").digest()
PHRASE = "legal winner thank year wave sausage worth useful legal winner thank yellow"
LOGIN = {"id": "login", "action": "sign.message", "wallets": "any", "prefixes": ["Sign in"], "maxBytes": 500}
POLICY = {"rules": [LOGIN | {"windows": [{"per": "day", "of": "token", "count": 1000}]}]}
LIMIT = ["--signatures-per-minute", "1000"]
# Counted anew in the background by every version, from the other tables.
COUNTED = {"key_census", "key_materials"}
WITHOUT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx would read all authorities for each client


@dataclass
class Upgrade:
    """What the last release left, and both versions serving on it."""

    owner_url: str
    endpoint: KmsEndpoint
    old: Version
    new: Version
    tokens: dict[str, str]
    private_keys: dict[str, str]
    before: dict[str, set[str]]
    after: dict[str, set[str]]
    old_server: ServerProcess
    new_server: ServerProcess

    @property
    def servers(self) -> tuple[ServerProcess, ServerProcess]:
        """The old one and the new one."""
        return self.old_server, self.new_server


def _rows(url: str, columns: dict[str, list[str]]) -> dict[str, set[str]]:
    """table -> its rows, in these columns, as text."""
    with psycopg.connect(url) as connection:
        return {
            table: {
                str(row)
                for row in connection.execute(
                    psycopg.sql.SQL("SELECT {} FROM {}").format(
                        psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, names)),
                        psycopg.sql.Identifier(table),
                    )
                )
            }
            for table, names in columns.items()
        }


def _columns(url: str) -> dict[str, list[str]]:
    statement = """
        SELECT table_name::text, array_agg(column_name::text ORDER BY ordinal_position)
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
        GROUP BY table_name
    """
    with psycopg.connect(url) as connection:
        return dict(connection.execute(statement).fetchall())


def _apply(url: str, *files: Path) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for file in files:
            connection.execute(file.read_bytes())


def _call(server: ServerProcess, token: str, method: str, path: str, body: Any = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.request(
        method, server.url + path, json=body, headers=headers, verify=WITHOUT_TLS, timeout=60
    )


def _until(server: ServerProcess, token: str, path: str, status: int) -> None:
    """Wait until a GET is answered so."""
    wait_until(lambda: _call(server, token, "GET", path).status_code == status)


def _key(server: ServerProcess, token: str, user: str) -> str:
    answer = _call(server, token, "GET", f"/wallets/{user}/private-key").raise_for_status()
    key: str = answer.json()["privateKey"]
    return key


# --- rows of every kind, each made in the way that the last release has for it ---


def _rewrite_in_first_layout(url: str, endpoint: KmsEndpoint, user: str) -> None:
    """Store a wallet as versions before the last release did: its phrase alone, under the same DEK."""
    kms = boto3.client(
        "kms",
        region_name=endpoint.region,
        endpoint_url=endpoint.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    with psycopg.connect(url) as connection:
        statement = (
            "SELECT wallet_address, encrypted_seed, encrypted_dek, kms_key_id FROM wallets WHERE user_id = %s"
        )
        address, seed, wrapped, key = connection.execute(statement, (user,)).fetchone() or ("", b"", b"", "")
        context = {"purpose": "wallet-dek", "wallet_address": address}
        dek = kms.decrypt(KeyId=key, CiphertextBlob=wrapped, EncryptionContext=context)["Plaintext"]
        account = AESGCM(dek).decrypt(seed[1:13], seed[13:], associated_data(user, address, 2))
        first = seal(account[32:], dek, os.urandom(12), associated_data(user, address, 1))
        connection.execute("UPDATE wallets SET encrypted_seed = %s WHERE user_id = %s", (first, user))


def _import(server: ServerProcess, token: str, user: str, secret: bytes) -> None:
    begun = _call(server, token, "POST", "/wallet-imports").raise_for_status().json()
    recipient = base64.b64decode(begun["recipientPublicKey"])
    enc, sealed = hpke.seal(recipient, secret, b"kms-service/wallet-import/v1", user.encode())
    body = {
        "importId": begun["importId"],
        "encapsulatedKey": base64.b64encode(enc).decode(),
        "ciphertext": base64.b64encode(sealed).decode(),
    }
    _call(server, token, "PUT", f"/wallets/{user}/import", body).raise_for_status()


def _rotate(server: ServerProcess, token: str, workers: Sequence[Version], *keys: str) -> dict[str, Any]:
    """Empty keys by a rotation with a worker of each of these versions; the job as it ended."""
    body = {"from": keys, "dryRun": False, "ratePerSecond": 1000}
    job = _call(server, token, "POST", "/rotations", body).raise_for_status().json()
    with ThreadPoolExecutor() as threads:
        # 1 where a wallet could not be moved.
        run = partial(Version.run, ends=(0, 1))
        list(threads.map(lambda version: run(version, "kms_rotate", ["rotation", "run"]), workers))
    ended: dict[str, Any] = _call(server, token, "GET", f"/rotations/{job['rotationId']}").json()
    return ended


def _make_rows(server: ServerProcess, old: Version, tokens: dict[str, str]) -> dict[str, str]:
    """Wallets with their private keys, and everything else that the last release stores."""
    token = tokens["everything"]
    for number in range(8):
        _call(server, token, "PUT", f"/wallets/user-{number}").raise_for_status()
    _import(server, token, "imported-key", IMPORTED)
    _import(server, token, "imported-phrase", PHRASE.encode())
    _call(
        server, tokens["signer"], "POST", "/wallets/user-0/sign/message", {"message": "Sign in"}
    ).raise_for_status()
    old.run(
        "kms_operate",
        ["canary", "add", "user-7"],
        ["seal", "--reason", "a drill"],
        ["unseal"],
    )
    _call(server, token, "PUT", "/wallets/first-layout").raise_for_status()
    _rewrite_in_first_layout(old.owner_url, old.endpoint, "first-layout")
    _break_and_rotate(server, old, token)
    _call(server, token, "PUT", f"/kms/pool/keys/{PREFIX}-9", {"mode": "draining"}).raise_for_status()
    _until(server, token, "/wallets/user-0/private-key", 200)
    users = ["first-layout", "imported-key", "imported-phrase", *(f"user-{number}" for number in range(7))]
    return {user: _key(server, token, user) for user in users}


def _break_and_rotate(server: ServerProcess, old: Version, token: str) -> None:
    """A rotation with a wallet that cannot be moved; afterwards the fault is gone."""
    with psycopg.connect(old.owner_url, autocommit=True) as connection:
        statement = "SELECT encrypted_dek, kms_key_id FROM wallets WHERE user_id = 'first-layout'"
        whole, key = connection.execute(statement).fetchone() or (b"", "")
        change = "UPDATE wallets SET encrypted_dek = %s WHERE user_id = 'first-layout'"
        connection.execute(change, (whole[:-1] + bytes([whole[-1] ^ 1]),))
        chains = [found for (found,) in connection.execute("SELECT DISTINCT kms_key_id FROM audit_chains")]
        job = _rotate(server, token, [old], *{key, *chains})
        assert job["failed"] == 1
        connection.execute(change, (whole,))
        # What a worker that died amid its batch leaves.
        connection.execute(
            "INSERT INTO rotation_batches SELECT gen_random_uuid(), rotation_id, sources[1], '', 'user-0',"
            " 'somewhere', gen_random_uuid(), now() FROM rotations"
        )


@pytest.fixture(scope="module")
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database without a table, in a cluster whose roles have logins."""
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE upgraded TEMPLATE template0")
        try:
            yield postgres_server.url("upgraded")
        finally:
            connection.execute("DROP DATABASE upgraded WITH (FORCE)")


@contextmanager
def _last_release(
    url: str, endpoint: KmsEndpoint, folder: Path
) -> Iterator[tuple[Version, ServerProcess, dict[str, str]]]:
    """The last release on a database of its own, serving, with tokens for it."""
    old = Version(export_last_release(folder), url, endpoint)
    old.run(OWNER, ["migrate"])
    _apply(url, old.source / "deploy/postgres/roles.sql")
    policy = folder / "policy.json"
    policy.write_text(json.dumps(POLICY))
    scopes = [part for scope in SCOPES for part in ("--scope", scope)]
    _, *made = old.run(
        "kms_operate",
        ["policy", "set", "logins", "--file", str(policy)],
        ["token", "create", "everything", *scopes, "--json"],
        ["token", "create", "signer", "--scope", "wallets:sign", "--policy", "logins", *LIMIT, "--json"],
        ["token", "create", "limited", *scopes, "--private-key-reads-per-minute", "3", "--json"],
        ["token", "create", "to-be-revoked", "--scope", "wallets:read", "--json"],
    )
    tokens = {}
    for each in made:
        facts = json.loads(each)
        tokens[facts["name"]] = facts["token"]
    with serve(old.env("kms_serve")) as server:
        yield old, server, tokens


@pytest.fixture(scope="module")
def upgrade(empty_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrade]:
    """The steps of deploy/runbooks/upgrade.md, in their order, while the old version serves."""
    with ExitStack() as stack:
        endpoint = stack.enter_context(KmsEndpoint())
        endpoint.add_pool(PREFIX, POOL_SIZE)
        folder = tmp_path_factory.mktemp("last-release")
        old, old_server, tokens = stack.enter_context(_last_release(empty_url, endpoint, folder))
        private_keys = _make_rows(old_server, old, tokens)
        columns = _columns(empty_url)
        before = _rows(empty_url, columns)
        # 1. Migrate, with the new version's command.
        new = Version(PROJECT, empty_url, endpoint)
        new.run("kms_migrate", ["migrate"])
        after = _rows(empty_url, columns)
        # 2. Rights, and for as long as both run, those of the version before.
        _apply(
            empty_url,
            *(PROJECT / "deploy/postgres" / name for name in ("roles.sql", "roles-during-upgrade.sql")),
        )
        # 3. The tokens, and that the seal is open, on a person's word.
        names = [part for name in tokens for part in ("--yes", name)]
        new.run("kms_operate", ["token", "confirm", *names], ["unseal"])
        # 4. The first replica of the new version.
        new_server = stack.enter_context(serve(new.env("kms_serve")))
        yield Upgrade(
            empty_url, endpoint, old, new, tokens, private_keys, before, after, old_server, new_server
        )


def test_the_last_release_left_rows_of_every_kind(upgrade: Upgrade) -> None:
    empty = {table for table, rows in upgrade.before.items() if not rows}
    assert empty == set(), "make rows of these too"


def test_migrating_changes_no_row(upgrade: Upgrade) -> None:
    for table in upgrade.before.keys() - COUNTED:
        gone = upgrade.before[table] - upgrade.after[table]
        assert not gone, f"{table}: {gone}"


def test_both_versions_open_every_wallet_of_the_last_release(upgrade: Upgrade) -> None:
    token = upgrade.tokens["everything"]
    for server in upgrade.servers:
        assert {user: _key(server, token, user) for user in upgrade.private_keys} == upgrade.private_keys
    assert upgrade.private_keys["imported-key"] == f"0x{IMPORTED.hex()}"


def test_each_version_opens_the_wallets_that_the_other_makes(upgrade: Upgrade) -> None:
    token = upgrade.tokens["everything"]
    for number, (maker, other) in enumerate([upgrade.servers, upgrade.servers[::-1]]):
        user = f"made-beside-{number}"
        made = _call(maker, token, "PUT", f"/wallets/{user}")
        assert made.status_code == 201, made.text
        assert _call(other, token, "PUT", f"/wallets/{user}").json() == made.json()
        assert _key(other, token, user) == _key(maker, token, user)


def test_both_versions_sign_the_same(upgrade: Upgrade) -> None:
    path, body = "/wallets/first-layout/sign/message", {"message": "hello"}
    old, new = (
        _call(server, upgrade.tokens["everything"], "POST", path, body).raise_for_status().json()["signature"]
        for server in upgrade.servers
    )
    assert old == new


def test_a_policy_of_the_last_release_bounds_both_versions(upgrade: Upgrade) -> None:
    path = "/wallets/user-0/sign/message"
    for server in upgrade.servers:
        assert (
            _call(server, upgrade.tokens["signer"], "POST", path, {"message": "Sign in"}).status_code == 200
        )
        refused = _call(server, upgrade.tokens["signer"], "POST", path, {"message": "Pay"})
        assert (refused.status_code, refused.json()["code"]) == (403, "policy_denied")


def test_a_limit_counts_the_reads_of_both_versions(upgrade: Upgrade) -> None:
    old, new = upgrade.servers
    path = "/wallets/user-0/private-key"
    answers = [
        _call(server, upgrade.tokens["limited"], "GET", path).status_code for server in (old, new, old)
    ]
    assert answers == [200, 200, 200]
    assert _call(new, upgrade.tokens["limited"], "GET", path).status_code == 429


def test_a_token_that_the_new_version_revokes_is_refused_by_both(upgrade: Upgrade) -> None:
    token = upgrade.tokens["to-be-revoked"]
    for server in upgrade.servers:
        assert _call(server, token, "GET", "/wallets/user-0").status_code == 200
    upgrade.new.run("kms_operate", ["token", "revoke", "to-be-revoked"])
    for server in upgrade.servers:
        _until(server, token, "/wallets/user-0", 401)


def test_the_new_version_seals_and_unseals_both(upgrade: Upgrade) -> None:
    token, path = upgrade.tokens["everything"], "/wallets/user-0/private-key"
    upgrade.new.run("kms_operate", ["seal", "--reason", "amid an upgrade"])
    for server in upgrade.servers:
        _until(server, token, path, 503)
    upgrade.new.run("kms_operate", ["unseal"])
    for server in upgrade.servers:
        _until(server, token, path, 200)


def test_a_rotation_with_workers_of_both_versions_loses_no_wallet(upgrade: Upgrade) -> None:
    token = upgrade.tokens["everything"]
    for server, alias in zip(upgrade.servers, (f"{PREFIX}-2", f"{PREFIX}-3"), strict=True):
        job = _rotate(server, token, [upgrade.old, upgrade.new], alias)
        assert (job["status"], job["failed"]) == ("completed", 0)
    for server in upgrade.servers:
        assert {user: _key(server, token, user) for user in upgrade.private_keys} == upgrade.private_keys


def test_after_the_upgrade_every_wallet_and_the_whole_log_verify(upgrade: Upgrade, tmp_path: Path) -> None:
    heads = tmp_path / "service.log"
    heads.write_text("\n".join(line for server in upgrade.servers for line in list(server.out)))
    for version in (upgrade.old, upgrade.new):
        (verified,) = version.run("kms_operate", ["verify", "--json"])
        (audited,) = version.run("kms_readonly", ["audit", "verify", "--heads", str(heads), "--json"])
        assert json.loads(audited)["intact"] is True
        assert json.loads(verified.splitlines()[-1])["failed"] == 0
