"""Takes the pictures in docs/operations.md of the operator page: docs/console-light.png and console-dark.png.

    .venv/bin/python scripts/console_pictures.py [--minutes 16]

A real server with traffic for that many minutes, on the tests' PostgreSQL and KMS, viewed with Chromium:
first with all well and a rotation running, then with one key disabled and one draining.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from chromium import Tab, chromium  # noqa: E402 # of the tests
from kms_endpoint import KmsEndpoint  # noqa: E402 # of the tests
from kms_service.access.scopes import Scope  # noqa: E402 # with the above
from kms_service.local.postgres import postgres  # noqa: E402 # with the above
from kms_service.store.postgres.migrations import migrate  # noqa: E402 # with the above
from server_process import ServerProcess, environment, make_token, serve  # noqa: E402 # of the tests

SIZE = 10
PREFIX = "Empressa-wallet-key"
DAY = 86_400


def main() -> None:
    """Serve, make traffic, take both pictures."""
    parser = argparse.ArgumentParser(description="Takes the documents' pictures of the operator page.")
    parser.add_argument("--minutes", type=float, default=16)
    minutes = parser.parse_args().minutes
    with (
        tempfile.TemporaryDirectory() as folder,
        postgres(Path(folder), {"fsync": "off"}) as database,
        KmsEndpoint() as kms,
    ):
        database.ensure_database("pictures")
        url = database.url("pictures")
        migrate(url)
        kms.add_pool(PREFIX, SIZE)
        for number in range(1, SIZE + 1):
            key = kms.key(f"alias/{PREFIX}-{number}")
            key.rotation_period, key.rotation_enabled_at = 365, time.time() - 30 * DAY * number
        env = environment(url, kms, WORKERS="2", CONSOLE_ENABLED="true")
        looking = make_token(env, "night-call", Scope.POOL_READ)
        with (
            serve(env) as server,
            _traffic(server, make_token(env, "checkout", *Scope)) as admin,
            chromium() as tab,
        ):
            time.sleep(60 * minutes)
            admin.put(f"/kms/pool/keys/{PREFIX}-7", json={"mode": "draining"})
            move = {"from": [f"{PREFIX}-7"], "dryRun": False, "ratePerSecond": 2}
            admin.post("/rotations", json=move).raise_for_status()
            time.sleep(12)
            tab.look(1100, 800, "light", phone=False)
            tab.go(f"{server.url}/console")
            tab.sign_in(looking)
            _keep(tab, "console-light.png")
            kms.key(f"alias/{PREFIX}-3").state = "Disabled"
            time.sleep(40)
            tab.look(1100, 800, "dark", phone=False)
            tab.go(f"{server.url}/console")
            _keep(tab, "console-dark.png")


@contextmanager
def _traffic(server: ServerProcess, token: str) -> Iterator[httpx.Client]:
    ended = threading.Event()

    def call() -> None:
        with server.client(token) as client:
            for number in count():
                if ended.wait(0.12 if number // 200 % 2 else 0.25):
                    return
                client.put(f"/wallets/user-{number}")
                for back in (1, 2, 3):
                    client.get(f"/wallets/user-{max(0, number - back * back)}/private-key")

    caller = threading.Thread(target=call)
    caller.start()
    try:
        with server.client(token) as admin:
            yield admin
    finally:
        ended.set()
        caller.join()


def _keep(tab: Tab, name: str) -> None:
    file = ROOT / "docs" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(tab.picture())
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
