"""Signatures per second through the TypeScript client, compared with `ethers.Wallet` in the caller's process.

    scripts/test-clients.sh                      # once: installs npm's packages and builds the client
    .venv/bin/python -m benchmarks.signing --signatures 1000

Needs node. PostgreSQL, the KMS stand-in, the service and its caller share this machine. The last two figures
are for one signature at a time: every signature is one request, and connections are kept.
"""

import argparse
import json
import subprocess

from benchmarks.machine import circumstances
from benchmarks.rig import ROOT, rig

_CLIENT = ROOT / "clients/typescript"


def main() -> None:
    """Measure, and print a JSON document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signing", description=__doc__)
    parser.add_argument("--signatures", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--latency-ms", type=float, default=5.0, help="how long KMS takes")
    options = parser.parse_args()
    if not (_CLIENT / "dist").is_dir():
        raise SystemExit("the client is not built: run scripts/test-clients.sh first")
    with (
        rig(options.latency_ms) as machine,
        machine.installation("signing").serving(options.workers) as service,
    ):
        words = ("node", "benchmark.mjs", service.url, service.token, str(options.signatures))
        done = subprocess.run(words, cwd=_CLIENT, check=True, stdout=subprocess.PIPE, text=True)
    figures = json.loads(done.stdout)
    print(json.dumps({**circumstances(), "kms_latency_ms": options.latency_ms, **figures}, indent=2))


if __name__ == "__main__":
    main()
