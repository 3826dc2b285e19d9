"""Nothing secret leaves: real secrets go through every route, failure, log format and command.

The canaries are the secrets themselves, taken where they are born: DEKs from what KMS received, phrases from
the rows, keys and tokens from the answers that may hold them. Then everything else is searched for them.
Routes, formats and commands are those that there are: one that is new and not driven fails.
"""

import base64
import io
import itertools
import json
import re
import secrets
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import httpx
import psycopg
import pytest
from click import Command, Context, Group
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fastapi.routing import iter_route_contexts

import hpke
from commands import runner
from event_loop import complete
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
from kms_service.access.scopes import Scope
from kms_service.api.app import create_app
from kms_service.bootstrap import Services
from kms_service.cli.root import root
from kms_service.local.kms.faults import Fault
from kms_service.settings import Settings
from kms_service.telemetry.logs import LogFormat
from server_process import environment, make_token, serve, set_policy
from vectors import decoder
from wiring import TESTER

REJECTED = "rejected-9f2c4e"
IMPORT = b"kms-service/wallet-import/v1"
FOREIGN = "arn:aws:kms:eu-central-1:111122223333:key/other"
FAULTS: tuple[Fault, ...] = (
    Error("AccessDeniedException"), Error("DisabledException"), Error("InvalidCiphertextException"),
    Error("ThrottlingException"), Status(500), Reset(), Garbage(), Empty(), Truncated(), OtherKeyId(FOREIGN),
    ShortPlaintext(), FlippedPlaintext(),
)  # fmt: skip
OPERATIONS = ("Encrypt", "Decrypt", "ReEncrypt", "DescribeKey")
CHECKOUT = str(Path(__file__).parents[2] / "deploy/policies/checkout.json")
ALIAS, SPARE = "Empressa-wallet-key-1", "Empressa-wallet-key-10"

# What is sent to each route that takes a body, with `{user}` for the user at hand.
BODIES: dict[str, dict[str, Any]] = {
    "POST /wallets": {"userId": "{user}-posted"},
    "POST /wallets/batch": {"userIds": ["{user}", "{user}-b"]},
    "POST /wallets/{userId}/private-key/export": {
        "recipientPublicKey": base64.b64encode(
            X25519PrivateKey.generate().public_key().public_bytes_raw()
        ).decode()
    },
    "POST /wallets/{userId}/sign/message": {"message": "hello"},
    "POST /wallets/{userId}/sign/typed-data": {
        "domain": {"name": "Shop"},
        "types": {"Order": [{"name": "id", "type": "uint256"}]},
        "message": {"id": "1"},
    },
    "POST /wallets/{userId}/sign/transaction": {
        "transaction": {"chainId": 1, "nonce": 0, "gas": 21000, "gasPrice": "1", "to": "0x" + "35" * 20}
    },
    "POST /wallets/{userId}/sign/authorization": {"chainId": 1, "address": "0x" + "35" * 20, "nonce": 0},
    "PUT /kms/pool/keys/{alias:path}": {"mode": "active"},
    "POST /rotations": {
        "from": [f"alias/Empressa-wallet-key-{number}" for number in range(1, 10)],
        "to": [f"alias/{SPARE}"],
        "dryRun": False,
        "ratePerSecond": 1,  # under way for as long as it takes to steer it
    },
    "POST /seal": {"reason": "drill"},
    "POST /console": {"token": "{token}"},
}
# A browser's forms; the others are JSON.
FORMS = {"POST /console"}
# Whatever can be switched on is; spans have a test of their own, and would want a collector.
SWITCHES = {name for name in Settings.model_fields if name.endswith("_enabled")} - {"tracing_enabled"}
# The arguments of each command; those with a wallet that was tampered with in sight end with 1.
COMMANDS: dict[str, list[str]] = {
    "migrate": [],
    "wallet list": [],
    "cost": [],
    "pool status": [],
    "pool create-aliases": [],
    "pool drain": [SPARE],
    "pool activate": [SPARE],
    "pool doctor": [],
    "pool retire": [ALIAS],
    "pool rotate": [SPARE, "--yes"],
    "token create": ["app-{form}", "--scope", "private-keys:read"],
    "token rotate": ["app-{form}"],
    "policy check": [CHECKOUT],
    "policy set": ["leaky", CHECKOUT],
    "policy show": ["leaky"],
    "policy list": [],
    "policy history": ["leaky"],
    "policy usage": ["leaky"],
    "token policy": ["app-{form}", "--policy", "leaky"],
    "token confirm": ["--yes", "app-{form}"],
    "token list": [],
    "token revoke": ["app-{form}"],
    "seal": ["--reason", "drill"],
    "unseal": [],
    "canary add": ["plain"],
    "canary list": [],
    "canary remove": ["plain"],
    "rotation start": ["--from", f"alias/{ALIAS}", "--no-dry-run"],
    "rotation list": [],
    "rotation pause": [],
    "rotation resume": [],
    "rotation run": [],
    "rotation status": [],
    "rotation cancel": [],
    "verify": [],
    "audit list": [],
    "audit verify": [],
    "audit export": ["--out", "{folder}/{form}.zip"],
    "audit reconcile": ["--cloudtrail", "{folder}"],
    "audit report": ["--month", "2026-11", "--out", "{folder}/{form}.html"],
    "audit release-mac-keys": ["--out", "{folder}/{form}-keys.json", "--reason", "drill"],
    "wallet import": ["{form}-imported"],
    "wallet put-back": ["--all"],
    "wallet forget-replaced": [],
    "adopt": ["--from", "{url}", "--table", "ported"],
}
# They serve: the first is the server of these tests, the others that and what it needs on one machine.
SERVING = {"serve", "local", "local demo"}
PORTED = """
    CREATE TABLE ported (user_id uuid PRIMARY KEY, wallet_address text, compressed_public_key text,
        encrypted_seed text, encrypted_dek text, kms_key_id text, created_at timestamp(3));
    INSERT INTO ported
        VALUES ('00000000-0000-4000-8000-000000000001', '0x', '0x', 'aa:bb:cc', '{}', NULL, now());
"""


@dataclass
class Told:
    """Everything that left the service, except answers that must hold a secret; and those secrets.

    Each text once: the same description of the API comes again and again.
    """

    texts: set[str] = field(default_factory=set)
    handed_out: set[str] = field(default_factory=set)
    succeeded: set[str] = field(default_factory=set)

    def hear(self, route: str, answer: httpx.Response) -> None:
        if not answer.is_error:
            self.succeeded.add(route)
        if "/console" in route:
            answer.headers.pop("set-cookie", None)  # a visitor's own token
        if route.endswith("private-key") and answer.is_success:
            self.handed_out.add(answer.json()["privateKey"][2:])
        else:
            self.texts.add(answer.text)
        self.texts.add(str(answer.headers))

    def assert_silent(self, hidden: set[str]) -> None:
        heard = "\n".join(self.texts)
        assert len(hidden) > 30
        for secret in {*hidden, *self.handed_out, "canary-aws-secret", "c4n4ry-aws-secret", REJECTED}:
            at = heard.find(secret)
            assert at < 0, (
                f"a secret, or a value that was refused, was told: {heard[max(0, at - 300) : at + 100]}"
            )


@dataclass
class Caller:
    """Asks every route, as it should be asked and as it should not."""

    client: httpx.Client
    token: str
    routes: list[str]
    told: Told
    rotation: str = ""

    def everything(self, user: str) -> None:
        """Ask every route about this user, who gets a wallet first, and end the rotation that this began."""
        self._ask("PUT /wallets/{userId}", user)
        for route in self.routes:
            self._ask(route, user)

    def _ask(self, route: str, user: str) -> None:
        body = json.dumps(BODIES.get(route)).replace("{user}", user).replace("{token}", self.token)
        content = {"data" if route in FORMS else "json": json.loads(body)} if route in BODIES else {}
        if route == "PUT /wallets/{userId}/import":
            content, user = {"json": self._encrypt_import(f"{user}-imported")}, f"{user}-imported"
        names = {
            "userId": user,
            "alias": SPARE,
            "id": self.rotation,
            "asset": "swagger-ui.css",
            "name": "checkout",
        }
        answer = self._send(route, names, **content)
        if answer.status_code == 202:
            self.rotation = answer.json()["rotationId"]

    def _encrypt_import(self, user: str) -> dict[str, str]:
        """A new key, encrypted for its import as callers do it; nothing where no import can begin."""
        begun = self.client.post("/wallet-imports")
        if begun.is_error:
            return {}
        key = secrets.token_bytes(32)
        self.told.handed_out.add(key.hex())
        recipient = base64.b64decode(begun.json()["recipientPublicKey"])
        encapsulated, ciphertext = hpke.seal(recipient, key, IMPORT, user.encode())
        return {
            "importId": begun.json()["importId"],
            "encapsulatedKey": base64.b64encode(encapsulated).decode(),
            "ciphertext": base64.b64encode(ciphertext).decode(),
        }

    def nonsense(self) -> None:
        """Ask every route with a value that is refused: in its path, query, body and token."""
        names = {
            "userId": f"{REJECTED}!",
            "alias": REJECTED,
            "id": REJECTED,
            "asset": REJECTED,
            "name": REJECTED,
        }
        malformed = b'{"userId": "' + REJECTED.encode()
        queried = ("limit", "cursor", "kmsKeyId", "userId", "actor", "action", "since", "until", "unknown")
        for route in self.routes:
            self._send(route, names)
            self._send(route, names, params=dict.fromkeys(queried, REJECTED))
            self._send(route, names, json={**BODIES.get(route, {}), f"{REJECTED} x": REJECTED})
            self._send(
                route, names, json={name: {f"{REJECTED} x": REJECTED} for name in BODIES.get(route, {})}
            )
            self._send(route, names, data={"token": REJECTED})
            self._send(route, names, content=malformed, headers={"Content-Type": "application/json"})
            self._send(route, names, headers={"Authorization": f"Bearer kms_{REJECTED}"})

    def _send(self, route: str, names: dict[str, str], **content: Any) -> httpx.Response:
        method, path = route.split()
        path = re.sub(r"\{(\w+)[\w:]*\}", lambda name: names[name[1]], path)
        answer = self.client.request(method, path, **content)
        self.client.cookies.clear()
        self.told.hear(route, answer)
        return answer


@pytest.fixture
def routes(services: Services) -> list[str]:
    """Every route, documented or not, in an order in which each may need what earlier ones made."""
    on = dict.fromkeys(SWITCHES, True) | {"platform_verifier_user_id": "plain"}
    settings = services.settings.model_copy(update=on)
    app = create_app(replace(services, settings=settings), owns_process=False)
    found = [
        f"{method} {context.path}"
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
    ]
    assert BODIES.keys() <= set(found)
    return sorted(found, key=lambda route: (route.endswith("/cancel"), "{id}" in route))


@pytest.mark.invariant(1)
@pytest.mark.invariant(8)
@pytest.mark.parametrize("log_format", sorted(set(get_args(LogFormat)) - {"auto"}))
def test_no_secret_and_no_rejected_value_leaves(
    database_url: str, kms_endpoint: KmsEndpoint, routes: list[str], log_format: str
) -> None:
    on = {name.upper(): "true" for name in SWITCHES}
    on["PLATFORM_VERIFIER_USER_ID"] = "plain"
    env = environment(database_url, kms_endpoint, LOG_LEVEL="DEBUG", LOG_FORMAT=log_format, **on)
    token = make_token(env, "app", *Scope)
    set_policy(env, "checkout", Path(CHECKOUT).read_bytes())
    told = Told(handed_out={token})
    with serve(env) as server, server.client(token) as client:
        caller = Caller(client, token, routes, told)
        for number in range(10):
            client.put(f"/wallets/early-{number}").raise_for_status()
        caller.everything("plain")
        assert told.succeeded == set(routes), "a route that is not driven: give it a body in BODIES"
        caller.nonsense()
        for number, fault in enumerate(FAULTS):
            with ExitStack() as rules:
                for operation in OPERATIONS:
                    rules.enter_context(kms_endpoint.on(operation).times(2).answer(fault))
                caller.everything(f"fault-{number}")
        _tamper(database_url)
        caller.everything("plain")
        server.stop()
    told.texts.add(server.printed)
    assert len(told.handed_out) > 1, "no key was handed out, so nothing was tried"
    told.assert_silent(_secrets(database_url, kms_endpoint))


def _commands(group: Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, bool]]:
    """Every command, and whether it can print JSON."""
    context = Context(group)
    for name in group.list_commands(context) if isinstance(group, Group) else ():
        command = group.get_command(context, name) if isinstance(group, Group) else None
        assert command is not None
        yield from _commands(command, (*path, name))
    if not isinstance(group, Group):
        yield " ".join(path), any(each.name == "as_json" for each in group.params)


@pytest.mark.invariant(1)
def test_no_command_prints_a_secret(
    settings: Settings,
    services: Services,
    kms_endpoint: KmsEndpoint,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    told = Told()
    (tmp_path / "trail.json").write_text('{"Records": []}')
    with psycopg.connect(database_url) as owner:
        owner.execute(PORTED)
    for user in ("plain", *(f"user-{number}" for number in range(8))):
        complete(services.wallets.create_wallet(TESTER, user))
    _tamper(database_url)
    run = runner(settings, monkeypatch, capsys)
    commands = dict(_commands(root))
    assert commands.keys() - SERVING == COMMANDS.keys(), "a command that is not driven"
    for form in ("text", "json"):
        monkeypatch.setenv("LOG_FORMAT", form)
        for command, arguments in COMMANDS.items():
            more = ["--json"] if form == "json" and commands[command] else []
            key = secrets.token_hex(32)
            told.handed_out.add(key)
            monkeypatch.setattr(sys, "stdin", io.StringIO(f"0x{key}\n"))
            names = {"form": form, "folder": str(tmp_path), "url": database_url}
            done = run(*command.split(), *(each.format(**names) for each in arguments), *more)
            assert done.code in (0, 1), (command, done)
            told.texts.add(done.err)
            if command in ("token create", "token rotate"):
                told.handed_out |= set(re.findall(r"\bkms_[\w-]{64}(?![\w-])", done.out))
            else:
                told.texts.add(done.out)
    assert len([each for each in told.handed_out if each.startswith("kms_")]) == 4
    told.assert_silent(_secrets(database_url, kms_endpoint))


def _tamper(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE wallets SET encrypted_seed = set_byte(encrypted_seed, 20, 7) WHERE user_id = 'plain'"
        )


def _secrets(database_url: str, endpoint: KmsEndpoint) -> set[str]:
    """Every DEK, mnemonic and private key, in all forms in which they could appear."""
    deks: dict[str, list[bytes]] = defaultdict(list)
    for call in endpoint.find_requests("Encrypt"):
        deks[call.context.get("wallet_address", "")].append(base64.b64decode(call.params["Plaintext"]))
    every = itertools.chain(*deks.values())
    found = {form for dek in every for form in (dek.hex(), base64.b64encode(dek).decode(), repr(dek))}
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT user_id, wallet_address, encrypted_seed FROM wallets").fetchall()
    for user_id, address, seed in rows:
        for dek in deks[address]:
            try:
                wallet = decoder.open_row(
                    user_id=user_id, wallet_address=address, dek=dek, encrypted_seed=seed
                )
            except decoder.Rejected:
                continue
            found |= {wallet.mnemonic or wallet.private_key.hex(), wallet.private_key.hex()}
    return found
