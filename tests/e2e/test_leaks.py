"""Nothing secret leaves: real secrets of a real process are driven through routes, failures and log levels.

The canaries are the secrets themselves, taken where they are born: DEKs from what KMS received, phrases from
the rows, keys and tokens from the answers that may hold them. Then everything else is searched for them.
"""

import base64
import re
from dataclasses import dataclass, field

import httpx
import psycopg
import pytest

from kms_endpoint import (
    Empty,
    Error,
    FlippedPlaintext,
    Garbage,
    KmsEndpoint,
    OtherKeyId,
    Reset,
    ShortPlaintext,
    Status,
    Truncated,
)
from server_process import ServerProcess, environment, make_token, serve
from vectors import decoder

SCOPES = ("wallets:create", "wallets:read", "private-keys:read", "private-keys:export", "wallets:sign")
REJECTED = "rejected-9f2c4e"
FOREIGN = "arn:aws:kms:eu-central-1:111122223333:key/other"
FAULTS = (
    Error("AccessDeniedException"), Error("DisabledException"), Error("InvalidCiphertextException"),
    Error("ThrottlingException"), Status(500), Reset(), Garbage(), Empty(), Truncated(), OtherKeyId(FOREIGN),
    ShortPlaintext(), FlippedPlaintext(),
)  # fmt: skip
# The answers that are meant to hold a key; everything else may not.
MEANT = re.compile(r"/private-key$")


@dataclass
class Told:
    """Everything the process told anybody, except the answers that are meant to hold a key."""

    texts: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def hear(self, answer: httpx.Response) -> None:
        self.texts.append(f"{answer.headers} {answer.text}")
        if MEANT.search(answer.request.url.path) and answer.status_code == 200:
            self.texts.pop()
            self.keys.append(answer.json()["privateKey"])


def _everything(client: httpx.Client, told: Told, user: str) -> None:
    wallet = f"/wallets/{user}"
    hear = told.hear
    hear(client.put(wallet))
    hear(client.post("/wallets", json={"userId": user}))
    hear(client.post("/wallets/batch", json={"userIds": [user, f"{user}-b"]}))
    hear(client.get(wallet))
    hear(client.get("/wallets"))
    hear(client.get(f"{wallet}/private-key"))
    hear(client.post(f"{wallet}/sign/message", json={"message": "hello"}))
    hear(client.post("/wallets", json={"userId": f"{REJECTED} with a space", REJECTED + " x": 1}))
    hear(
        client.post(
            "/wallets",
            content=b'{"userId": "' + REJECTED.encode(),
            headers={"Content-Type": "application/json"},
        )
    )
    hear(client.post(f"{wallet}/sign/message", json={"message": 1, "messageHex": REJECTED}))
    hear(client.post(f"{wallet}/private-key/export", json={"recipientPublicKey": REJECTED}))
    hear(client.get(f"/wallets/{REJECTED}!"))
    hear(client.get("/wallets", params={"cursor": REJECTED}))
    hear(client.get(wallet, headers={"Authorization": f"Bearer kms_{REJECTED}"}))
    for path in ("/livez", "/readyz", "/metrics", "/nowhere"):
        hear(client.get(path))


def _secrets(database_url: str, endpoint: KmsEndpoint) -> set[str]:
    deks = [base64.b64decode(call.params["Plaintext"]) for call in endpoint.received("Encrypt")]
    secrets = {form for dek in deks for form in (dek.hex(), base64.b64encode(dek).decode(), repr(dek))}
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT user_id, wallet_address, encrypted_seed FROM wallets").fetchall()
    for user_id, address, seed in rows:
        for dek in deks:
            try:
                wallet = decoder.open_row(
                    user_id=user_id, wallet_address=address, dek=dek, encrypted_seed=seed
                )
            except decoder.Rejected:
                continue
            secrets |= {wallet.mnemonic, wallet.private_key.hex()}
    return secrets


@pytest.mark.invariant(1)
@pytest.mark.invariant(8)
@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_no_secret_and_no_rejected_value_is_told(
    database_url: str, kms_endpoint: KmsEndpoint, level: str
) -> None:
    env = environment(database_url, kms_endpoint, LOG_LEVEL=level)
    token = make_token(env, "app", *SCOPES)
    told = Told()
    with serve(env) as server:
        with server.client(token) as client:
            _everything(client, told, "plain")
            for number, fault in enumerate(FAULTS):
                with (
                    kms_endpoint.on("Encrypt").times(2).answer(fault),
                    kms_endpoint.on("Decrypt").times(2).answer(fault),
                ):
                    _everything(client, told, f"fault-{number}")
            _tamper(database_url)
            _everything(client, told, "plain")
        server.stop()
    assert told.keys, "no key was handed out, so nothing was tried"
    _assert_silent(server, told, token, _secrets(database_url, kms_endpoint) | {key[2:] for key in told.keys})


def _tamper(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE wallets SET encrypted_seed = set_byte(encrypted_seed, 20, 7) WHERE user_id = 'plain'"
        )


def _assert_silent(server: ServerProcess, told: Told, token: str, secrets: set[str]) -> None:
    heard = "\n".join([*told.texts, server.printed])
    assert len(secrets) > 30
    for secret in {*secrets, token, "canary-aws-secret", REJECTED}:
        assert secret not in heard, "a secret, or a value that was refused, was told"
