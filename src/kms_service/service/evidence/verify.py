#!/usr/bin/env python3
"""Check whether an evidence bundle of kms-service is whole. It needs only Python: no network, no other file.

    python3 verify.py                                # beside the unpacked members
    python3 verify.py --fingerprint SHA256:0123...   # and signed by this key, and no other
    python3 verify.py --mac-keys mac-keys.json       # and each event is what the service once wrote

Exit code 0: all is whole. 1: it is not, and each finding is one line. The checks, in this order:
 1. manifest.json is signed by the key in signing-key.pem (ECDSA on P-256 with SHA-256), by the pinned key.
 2. Every member has the length and the SHA-256 that the manifest gives.
 3. Every event follows the one before it in its chain: no number is missing, and a hash covers both. With MAC
    keys its MAC is checked too, which nobody can make with the database alone.
 4. Every chain ends as chains.jsonl says, no numbered chain is missing, and kept heads are in their chains.
 5. The service itself found nothing when it verified its log, just before it wrote the bundle.
"""

from __future__ import annotations  # so that it also runs on Python 3.9

import argparse
import base64
import hashlib
import hmac
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORMAT = "kms-service-evidence/1"
SHOWN = 20  # so many findings about one chain or member are printed; all are counted
NOT_SIGNED = "not signed: nothing shows who wrote it"
LABEL = b"kms-service/audit\x01"
# The fields of an event that its MAC covers, in this order.
FIELDS = ("chain", "seq", "at", "actor", "action", "outcome", "userId", "walletAddress", "requestId",
          "kmsKeyId", "kmsRequestId", "detail")  # fmt: skip

# The curve P-256: y^2 = x^3 - 3x + b modulo P, with the base point G of order N (NIST SP 800-186, 3.2.1.3).
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)  # fmt: skip
KEY_HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")  # DER; the point follows
Point = tuple[int, int]
Json = dict[str, Any]


class Findings:
    """Prints what is wrong; a bundle without findings is whole."""

    def __init__(self) -> None:
        self.count = 0
        self._about: Counter[str] = Counter()

    def add(self, says: str, about: str = "") -> None:
        """Print one finding, unless there were many about the same thing."""
        self.count += 1
        self._about[about] += 1
        if self._about[about] <= SHOWN:
            print("FOUND:", repr(says)[1:-1])  # a terminal obeys nothing that lies in a bundle


def point_sum(one: Point | None, other: Point | None) -> Point | None:
    """The sum of two points of the curve; None is the point at infinity."""
    if one is None or other is None:
        return one or other
    (x1, y1), (x2, y2) = one, other
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, P) if one == other else (y2 - y1) * pow(x2 - x1, -1, P)
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def times(factor: int, point: Point | None) -> Point | None:
    """A point added to itself so many times."""
    total = None
    while factor:
        if factor & 1:
            total = point_sum(total, point)
        point, factor = point_sum(point, point), factor >> 1
    return total


def public_key(pem: bytes) -> tuple[bytes, Point]:
    """The bytes and the point of a public key in PEM; ValueError if it is not a key on P-256."""
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]), validate=True)
    if not der.startswith(KEY_HEAD + b"\x04") or len(der) != len(KEY_HEAD) + 65:
        raise ValueError("signing-key.pem is no key on P-256")
    return der, (int.from_bytes(der[-64:-32], "big"), int.from_bytes(der[-32:], "big"))


def signature_numbers(der: bytes) -> tuple[int, int]:
    """The two numbers of an ECDSA signature in DER; ValueError if it is not one."""
    sequence, length, integer, r_length = der[:4]
    r, rest, s = der[4 : 4 + r_length], der[4 + r_length : 6 + r_length], der[6 + r_length :]
    numbers = int.from_bytes(r, "big"), int.from_bytes(s, "big")
    well_formed = (sequence, length, integer, *rest) == (0x30, len(der) - 2, 0x02, 0x02, len(s))
    if not well_formed or not all(0 < number < N for number in numbers):
        raise ValueError("manifest.sig is no signature")
    return numbers


def is_signed(message: bytes, signature: bytes, point: Point) -> bool:
    """Whether the key of this point signed this message (FIPS 186-5, 6.4.2)."""
    r, s = signature_numbers(signature)
    digest, inverse = int.from_bytes(hashlib.sha256(message).digest(), "big"), pow(s, -1, N)
    found = point_sum(times(digest * inverse % N, G), times(r * inverse % N, point))
    return found is not None and found[0] % N == r


def check_signature(folder: Path, manifest: bytes, pinned: str | None, findings: Findings) -> str:
    """Do check 1; returns what to print about the signature."""
    key, signature = folder / "signing-key.pem", folder / "manifest.sig"
    if not (key.is_file() and signature.is_file()):
        if pinned or key.is_file() or signature.is_file() or json.loads(manifest).get("signature"):
            findings.add("the signature is missing: manifest.sig, or signing-key.pem")
        return NOT_SIGNED
    try:
        der, point = public_key(key.read_bytes())
        if not is_signed(manifest, signature.read_bytes(), point):
            findings.add("manifest.json is not what was signed: it, its signature or the key was altered")
    except ValueError as error:
        findings.add(f"the signature cannot be checked: {error}")
        return NOT_SIGNED
    signer = "SHA256:" + hashlib.sha256(der).hexdigest()
    if pinned and pinned.lower() != signer.lower():
        findings.add(f"another signer: the bundle was signed by {signer}, not by {pinned}")
    return f"signed by {signer}" + ("" if pinned else " (compare it: --fingerprint)")


def check_members(folder: Path, members: Json, findings: Findings) -> None:
    """Do check 2."""
    for name, told in sorted(members.items()):
        if not (folder / name).is_file():
            findings.add(f"{name} is missing")
            continue
        digest, length = hashlib.sha256(), (folder / name).stat().st_size
        with (folder / name).open("rb") as member:
            for block in iter(lambda: member.read(1 << 20), b""):
                digest.update(block)
        if length < told["bytes"]:
            findings.add(f"{name} was truncated: {length} of {told['bytes']} bytes")
        elif digest.hexdigest() != told["sha256"]:
            findings.add(f"{name} was altered: its SHA-256 is not the manifest's")


def encode(field: object) -> bytes:
    """A field as hashes and MACs cover it: a mark if it is absent, else its length and bytes."""
    if field is None:
        return b"\x00"
    data = str(field).encode()
    return b"\x01" + len(data).to_bytes(4, "big") + data


class ExportedChain:
    """One chain, as its events are read from events.jsonl."""

    def __init__(self, told: Json, key: bytes | None) -> None:
        self.told, self.key = told, key
        self.name = f"chain {told['number'] or told['chain']}"
        self.first, self.last = told["before"] + 1, told["last"]
        self.next, self.hash, self.mac = self.first, "00" * 32, told["startMac"]
        self.gaps: list[tuple[int, int]] = []
        self.heads: dict[int, str] = {}

    def take(self, event: Json, findings: Findings) -> None:
        """Check the next event of this chain in the file."""
        seq, says = event["seq"], f"event {event['seq']} of {self.name}, id {event['id']},"
        fields = b"".join(encode(event[name]) for name in FIELDS)
        if seq == self.next <= self.last:
            rest = encode(event["id"]) + encode(event["mac"])
            if hashlib.sha256(bytes.fromhex(self.hash) + fields + rest).hexdigest() != event["hash"]:
                findings.add(f"{says} was altered, or the one before it was", self.name)
            if self.key is not None and self._is_forged(fields, event["mac"]):
                findings.add(f"{says} is not what the service wrote: its MAC is wrong", self.name)
                self.key = None  # behind a wrong MAC none can be right
        elif self._note_misplaced(seq, says, findings):
            return
        if self.heads.pop(seq, event["mac"]) != event["mac"]:
            findings.add(f"{says} is not the one that a head outside tells of", self.name)
        self.next, self.hash, self.mac = seq + 1, event["hash"], event["mac"]

    def _is_forged(self, fields: bytes, told: str) -> bool:
        mac = hmac.new(self.key or b"", LABEL + bytes.fromhex(self.mac) + fields, hashlib.sha256)
        return not hmac.compare_digest(mac.hexdigest(), told)

    def _note_misplaced(self, seq: int, says: str, findings: Findings) -> bool:
        """Report an event that is not the next one; False if it is fine but others before it are missing."""
        gap = next((gap for gap in self.gaps if gap[0] <= seq <= gap[1]), None)
        if gap is not None:
            findings.add(f"{says} was reordered", self.name)
            self.gaps.remove(gap)
            self.gaps += [part for part in ((gap[0], seq - 1), (seq + 1, gap[1])) if part[0] <= part[1]]
        elif not self.first <= seq <= self.last:
            findings.add(f"{says} was inserted", self.name)
        elif seq < self.next:
            findings.add(f"{says} is repeated", self.name)
        else:
            self.gaps.append((self.next, seq - 1))
            return False
        return True

    def end(self, findings: Findings) -> None:
        """Check how the chain ends."""
        if self.next <= self.last:
            self.gaps.append((self.next, self.last))
        for first, last in self.gaps:
            findings.add(f"missing from {self.name}: events {first} to {last}", self.name)
        if not self.gaps and (self.hash, self.mac) != (self.told["hash"], self.told["endMac"]):
            findings.add(f"{self.name} does not end as chains.jsonl tells: altered, or swapped", self.name)
        if any(seq > self.last for seq in self.heads) and not self.told["continues"]:
            findings.add(f"{self.name} was cut off: a head tells of event {max(self.heads)}", self.name)


def lines(folder: Path, name: str, findings: Findings) -> Iterator[Json]:
    """The JSON objects of a member, one per line; none if the member is missing."""
    if not (folder / name).is_file():
        return
    with (folder / name).open("rb") as member:
        for number, line in enumerate(member, 1):
            try:
                yield json.loads(line)
            except ValueError:
                findings.add(f"{name} line {number} cannot be read", name)


def read_chains(folder: Path, keys: dict[str, bytes] | None, findings: Findings) -> dict[str, ExportedChain]:
    """The chains by id, with the heads that were kept outside, and with MAC keys if they are given."""
    chains = {}
    for told in lines(folder, "chains.jsonl", findings):
        chain = chains[told["chain"]] = ExportedChain(told, None if keys is None else keys.get(told["chain"]))
        if keys is not None and chain.key is None:
            findings.add(f"{chain.name} has no key among the MAC keys", chain.name)
    for head in lines(folder, "heads.jsonl", findings):
        if head["chain"] in chains:
            chains[head["chain"]].heads[head["seq"]] = head["mac"]
        else:
            findings.add(f"chain {head['chain']} is missing: a kept head names it", "heads.jsonl")
    return chains


def check_events(folder: Path, chains: dict[str, ExportedChain], findings: Findings) -> int:
    """Do checks 3 and 4; returns how many events there are."""
    events = 0
    for events, event in enumerate(lines(folder, "events.jsonl", findings), 1):
        try:
            chains[event["chain"]].take(event, findings)
        except (KeyError, TypeError, ValueError):
            findings.add(f"line {events} of events.jsonl is of no chain, or lacks a member", "events.jsonl")
    for chain in chains.values():
        chain.end(findings)
    before = 0
    for number in sorted(chain.told["number"] for chain in chains.values() if chain.told["number"]):
        if number != before + 1:
            findings.add(f"the chains from {before + 1} to {number - 1} are missing", "chains.jsonl")
        before = number
    return events


def check(folder: Path, pinned: str | None, mac_keys: Path | None) -> int:
    """Check a bundle; returns how many findings there are."""
    findings = Findings()
    manifest_bytes = (folder / "manifest.json").read_bytes()
    manifest = json.loads(manifest_bytes)
    if manifest["format"] != FORMAT:
        findings.add(f"the format is {manifest['format']}, and this program reads {FORMAT}")
    signed = check_signature(folder, manifest_bytes, pinned, findings)
    check_members(folder, manifest["members"], findings)
    released = json.loads(mac_keys.read_bytes())["keys"] if mac_keys else {}
    keys = {chain: bytes.fromhex(key) for chain, key in released.items()} if mac_keys else None
    chains = read_chains(folder, keys, findings)
    events = check_events(folder, chains, findings)
    if (events, len(chains)) != (manifest["events"], manifest["chains"]):
        findings.add(f"the manifest tells of {manifest['events']} events in {manifest['chains']} chains")
    for says in manifest["verification"]["findings"]:
        findings.add(f"the service found, before it wrote the bundle: {says}")
    window = repr(f"since {manifest['since'] or 'ever'}, until {manifest['until']}")[1:-1]
    macs = "with MAC keys" if keys else "without MAC keys"
    print(f"{events} events in {len(chains)} chains, {window}, {signed}; {macs}")
    return findings.count


def main() -> None:
    """Read the command line, check, and exit."""
    parser = argparse.ArgumentParser(description="Say whether an evidence bundle of kms-service is whole.")
    parser.add_argument("--fingerprint", help="SHA256:... of the key that must have signed the manifest")
    parser.add_argument("--mac-keys", type=Path, help="MAC keys that the service released to you")
    options = parser.parse_args()
    try:
        found = check(Path(__file__).resolve().parent, options.fingerprint, options.mac_keys)
    except (OSError, KeyError, TypeError, ValueError) as error:
        print(f"FOUND: manifest.json or another member is missing or damaged: {error!r}")
        found = 1
    print(f"NOT WHOLE: {found} findings" if found else "WHOLE")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
