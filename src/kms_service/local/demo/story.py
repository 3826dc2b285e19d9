"""What the demo shows, in this order. Each scene leaves everything as the next one needs it."""

import time
from itertools import count

import psycopg

from kms_service.local.demo.stage import Stage
from kms_service.local.errors import LocalError
from kms_service.local.session import Say, Session

_BATCHES = 3
_BATCH = 100
_CALLERS = 4
_LOAD_SECONDS = 2.0
_HEALING_SECONDS = 60.0
_SEAL_SECONDS = 2.5  # every process knows after two
_RATE = "10"  # a second: slow enough to see the bar
_HELLO = {"message": "hello"}
_SIGN = "/wallets/alice/sign/message"
_READ = "/wallets/alice/private-key"


def tell(session: Session, say: Say) -> None:
    """Walk through the product on a disposable session; `say` gets the story.

    Raises:
        LocalError: something did not do what the story says.
    """
    stage = Stage(session, say)
    for title, scene in (
        ("Wallets, each encrypted under one of ten KMS keys", _make_wallets),
        ("A signature: the private key does not leave", _sign),
        ("A KMS key is disabled under load", _disable_a_key),
        ("A key's wallets move to the others, without any plaintext", _rotate),
        ("Somebody changes a row in the database", _tamper),
        ("The emergency stop", _seal),
        ("All of it is on record", _verify_the_log),
    ):
        say(f"\n== {title} ==\n")
        scene(stage)


def _make_wallets(stage: Stage) -> None:
    alice = stage.expect(201, "PUT", "/wallets/alice")
    for batch in range(_BATCHES):
        users = [f"user-{batch * _BATCH + number:03}" for number in range(_BATCH)]
        stage.expect(200, "POST", "/wallets/batch", {"userIds": users})
    stage.say(f"alice has the wallet {alice['walletAddress']}; {_BATCHES * _BATCH} others have theirs.")
    stage.command("pool", "status")


def _sign(stage: Stage) -> None:
    signed = stage.expect(200, "POST", _SIGN, _HELLO)
    stage.say(f'alice signs "hello": {signed["signature"]}')
    stage.command("audit", "list", "--user", "alice")


def _disable_a_key(stage: Stage) -> None:
    kms, key = stage.session.servers.kms.client(), _key_of_alice(stage)
    numbers = count(1)
    stage.say(f"{_CALLERS} callers keep creating wallets. Now alice's key is disabled.")
    with stage.load(_CALLERS, lambda: stage.ask("PUT", f"/wallets/under-load-{next(numbers)}")) as created:
        kms.disable_key(KeyId=key)
        time.sleep(_LOAD_SECONDS)
        _show_refusal(stage, 503, "POST", _SIGN, _HELLO)
    failed = created.total() - created[201]
    stage.say(f"{created[201]} wallets were created meanwhile under the other keys, {failed} failed.")
    if failed:
        raise LocalError(f"creating wallets did not go on: {dict(created)}")
    kms.enable_key(KeyId=key)
    since = time.monotonic()
    while stage.ask("POST", _SIGN, _HELLO).status != 200:  # noqa: PLR2004 - HTTP's
        if time.monotonic() > since + _HEALING_SECONDS:
            raise LocalError("the key was enabled again, but is not used")
        time.sleep(0.1)
    stage.say(f"Enabled again: alice signs after {time.monotonic() - since:.1f} s.")


def _rotate(stage: Stage) -> None:
    key = _key_of_alice(stage)
    aliases = {each["keyId"]: each["alias"] for each in stage.expect(200, "GET", "/kms/pool")["keys"]}
    alias = aliases[key].removeprefix("alias/")
    stage.command("pool", "drain", alias)
    stage.command("rotation", "start", "--from", alias, "--no-dry-run", "--rate", _RATE)
    stage.command("rotation", "status", "--watch")
    moved = _key_of_alice(stage)
    if moved == key:
        raise LocalError("alice's wallet was not moved")
    stage.say(f"alice's wallet is under {aliases[moved].removeprefix('alias/')} now, and opens as before:")
    stage.command("verify")


def _tamper(stage: Stage) -> None:
    url = stage.session.settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as database:
        stage.say("A superuser of PostgreSQL gives alice the encrypted seed of user-001.")
        database.execute(
            "CREATE TEMPORARY TABLE kept AS SELECT encrypted_seed FROM wallets WHERE user_id = 'alice'"
        )
        database.execute(
            "UPDATE wallets SET encrypted_seed ="
            " (SELECT encrypted_seed FROM wallets WHERE user_id = 'user-001') WHERE user_id = 'alice'"
        )
        _show_refusal(stage, 500, "GET", _READ)
        stage.command("verify", exit_code=1)
        database.execute(
            "UPDATE wallets SET encrypted_seed = (SELECT encrypted_seed FROM kept) WHERE user_id = 'alice'"
        )
    stage.expect(200, "GET", _READ)
    stage.say("The row is put back, and opens again.")


def _seal(stage: Stage) -> None:
    stage.command("seal", "--reason", "demo")
    time.sleep(_SEAL_SECONDS)
    _show_refusal(stage, 503, "GET", _READ)
    stage.command("unseal")
    time.sleep(_SEAL_SECONDS)
    stage.expect(200, "GET", _READ)
    stage.say("alice's private key can be read again.")


def _verify_the_log(stage: Stage) -> None:
    stage.command("audit", "list", "--limit", "8")
    stage.command("audit", "verify")


def _key_of_alice(stage: Stage) -> str:
    return str(stage.expect(200, "GET", "/wallets/alice")["kmsKeyId"])


def _show_refusal(stage: Stage, status: int, method: str, path: str, content: object = None) -> None:
    code = stage.expect(status, method, path, content)["code"]
    stage.say(f"{method} {path}: {status} {code}")
