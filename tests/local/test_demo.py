"""`kms-service local demo` runs to its end and leaves nothing behind."""

import os
import re
import subprocess
import sys
from pathlib import Path

from laptop_session import HOSTILE

SHOWN = [
    r"alice has the wallet 0x\w{40}",
    r'alice signs "hello": 0x\w{130}',
    r"POST /wallets/alice/sign/message: 503 kms_key_unusable",
    r"[1-9]\d* wallets were created meanwhile under the other keys, 0 failed",
    r"Enabled again: alice signs after",
    r"completed: (\d+) of \1 wallets? moved",
    r"GET /wallets/alice/private-key: 500 integrity_failure",
    r"alice +integrity_failure: seed tag",
    r"The row is put back, and opens again",
    r"GET /wallets/alice/private-key: 503 sealed",
    r"alice's private key can be read again",
    r"rows in \d+ chains?: as they were written",
]


def test_the_demo_shows_what_it_promises(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kms_service", "local", "demo"],
        cwd=tmp_path,
        env={**os.environ, **HOSTILE, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    found = [re.search(each, done.stdout) for each in SHOWN]
    assert all(found), done.stdout
    places = [each.start() for each in found if each]
    assert places == sorted(places)
    assert list(tmp_path.iterdir()) == []
