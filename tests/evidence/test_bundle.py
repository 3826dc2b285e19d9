"""Whoever changes a bundle: its own verifier says, offline, what was changed."""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from evidence.signed_bundles import (
    MadeChain,
    Signer,
    make_chain,
    new_signer,
    verify,
    verify_as_a_stranger,
    write_bundle,
    write_mac_keys,
)
from kms_service.service.audit.chains import Head
from kms_service.service.evidence import verify as verifier
from kms_service.service.evidence.bundle import hash_link

Line = dict[str, Any]


@pytest.fixture(scope="module")
def chains() -> list[MadeChain]:
    return [make_chain(1, 8), make_chain(2, 5), make_chain(3, 1)]


@pytest.fixture(scope="module")
def signer() -> Signer:
    return new_signer()


@pytest.fixture
def bundle(tmp_path: Path, chains: list[MadeChain], signer: Signer) -> Path:
    return write_bundle(tmp_path / "bundle", chains, signer=signer)


def _edit(folder: Path, change: Callable[[list[Line]], Any], member: str = "events.jsonl") -> None:
    path = folder / member
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


def _set(number: int, **members: Any) -> Callable[[list[Line]], None]:
    return lambda lines: lines[number].update(members)


def _swap(one: int, other: int) -> Callable[[list[Line]], Any]:
    def swap(lines: list[Line]) -> None:
        lines[one], lines[other] = lines[other], lines[one]

    return swap


def _relabel(lines: list[Line]) -> None:
    first, second = lines[0]["chain"], lines[8]["chain"]
    for line in lines:
        line["chain"] = {first: second, second: first}.get(line["chain"], line["chain"])


def _rewrite(lines: list[Line]) -> None:
    """Change an event and link all later ones anew, as somebody who has read the code would."""
    lines[3]["actor"] = "mallory"
    previous = bytes.fromhex(lines[2]["hash"])
    for line in lines[3:8]:
        fields = [None if line[name] is None else str(line[name]) for name in verifier.FIELDS]
        previous = hash_link(previous, [*fields, str(line["id"]), line["mac"]])
        line["hash"] = previous.hex()


TAMPERING: dict[str, tuple[Callable[[list[Line]], Any], str]] = {
    "altered": (_set(3, actor="mallory"), "event 4 of chain 1, id 1004, was altered"),
    "null for empty": (_set(3, requestId=None), "event 4 of chain 1, id 1004, was altered"),
    "another mac": (_set(9, mac="00" * 32), "event 2 of chain 2, id 2002, was altered"),
    "missing": (lambda lines: lines.pop(3), "missing from chain 1: events 4 to 4"),
    "the last missing": (lambda lines: lines.pop(7), "missing from chain 1: events 8 to 8"),
    "the first missing": (lambda lines: lines.pop(8), "missing from chain 2: events 1 to 1"),
    "repeated": (lambda lines: lines.insert(5, lines[2]), "event 3 of chain 1, id 1003, is repeated"),
    "reordered": (_swap(3, 5), "event 4 of chain 1, id 1004, was reordered"),
    "inserted": (
        lambda lines: lines.insert(8, lines[3] | {"seq": 9}), "event 9 of chain 1, id 1004, was inserted"),
    "swapped chains": (_relabel, "event 1 of chain 2, id 1001, was altered"),
    "rewritten": (_rewrite, "chain 1 does not end as chains.jsonl tells"),
    "of no chain": (_set(2, chain="00000000"), "line 3 of events.jsonl is of no chain"),
    "lacks a member": (lambda lines: lines[2].pop("actor"), "line 3 of events.jsonl is of no chain"),
}  # fmt: skip


@pytest.mark.parametrize("signed", [True, False])
def test_an_untouched_bundle_is_whole(
    tmp_path: Path, chains: list[MadeChain], signer: Signer, *, signed: bool
) -> None:
    folder = write_bundle(tmp_path / "b", chains, signer=signer if signed else None)
    code, said = verify(folder, *(["--fingerprint", signer.key.fingerprint] if signed else []))
    assert (code, said.splitlines()[-1]) == (0, "WHOLE")
    assert "14 events in 3 chains" in said
    assert ("signed by SHA256:" in said, "not signed" in said) == (signed, not signed)


@pytest.mark.parametrize("case", TAMPERING)
def test_a_change_of_events_is_named(bundle: Path, case: str) -> None:
    change, says = TAMPERING[case]
    _edit(bundle, change)
    code, said = verify(bundle)
    assert code == 1
    assert f"FOUND: {says}" in said
    assert said.splitlines()[-1].startswith("NOT WHOLE")
    assert "events.jsonl was" in said  # and by the manifest, whatever the line says


def test_a_truncated_member_is_named(bundle: Path) -> None:
    data = (bundle / "events.jsonl").read_bytes()
    (bundle / "events.jsonl").write_bytes(data[:-100])
    code, said = verify(bundle)
    assert code == 1
    assert f"FOUND: events.jsonl was truncated: {len(data) - 100} of {len(data)} bytes" in said
    assert "FOUND: events.jsonl line 14 cannot be read" in said


@pytest.mark.parametrize("name", ["events.jsonl", "chains.jsonl", "heads.jsonl", "keys.json"])
def test_a_missing_member_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    code, said = verify(bundle)
    assert code == 1
    assert f"FOUND: {name} is missing" in said


def test_swapped_wrapped_keys_are_named(bundle: Path) -> None:
    def swap(lines: list[Line]) -> None:
        lines[0]["wrappedMacKey"], lines[1]["wrappedMacKey"] = (
            lines[1]["wrappedMacKey"],
            lines[0]["wrappedMacKey"],
        )

    _edit(bundle, swap, "chains.jsonl")
    assert "FOUND: chains.jsonl was altered" in verify(bundle)[1]


def _rewrite_manifest(folder: Path) -> None:
    """Make the manifest describe the members as they are now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, told in manifest["members"].items():
        data = (folder / name).read_bytes()
        told.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def test_a_manifest_rewritten_to_fit_altered_members_is_not_the_signed_one(bundle: Path) -> None:
    _edit(bundle, _rewrite)
    _edit(
        bundle,
        _set(0, hash=json.loads((bundle / "events.jsonl").read_text().splitlines()[7])["hash"]),
        "chains.jsonl",
    )
    _rewrite_manifest(bundle)
    code, said = verify(bundle)
    assert code == 1
    assert re.findall("FOUND: (.*)", said) == [
        "manifest.json is not what was signed: it, its signature or the key was altered"
    ]


def test_another_signer_is_named(tmp_path: Path, chains: list[MadeChain], signer: Signer) -> None:
    folder = write_bundle(tmp_path / "b", chains, signer=new_signer())
    assert verify(folder)[0] == 0
    code, said = verify(folder, "--fingerprint", signer.key.fingerprint)
    assert code == 1
    assert "FOUND: another signer" in said
    assert signer.key.fingerprint in said


@pytest.mark.parametrize("gone", [["manifest.sig"], ["signing-key.pem"], ["manifest.sig", "signing-key.pem"]])
def test_a_removed_signature_is_reported(bundle: Path, gone: Sequence[str]) -> None:
    for name in gone:
        (bundle / name).unlink()
    code, said = verify(bundle)
    assert code == 1
    assert "FOUND: the signature is missing" in said


def test_an_unsigned_bundle_is_refused_where_a_signer_is_pinned(
    tmp_path: Path, chains: list[MadeChain], signer: Signer
) -> None:
    folder = write_bundle(tmp_path / "b", chains)
    assert verify(folder, "--fingerprint", signer.key.fingerprint)[0] == 1


def test_mac_keys_reveal_what_was_changed_before_the_export(
    tmp_path: Path, chains: list[MadeChain], signer: Signer
) -> None:
    rows = list(chains[0].rows)
    rows[4] = replace(rows[4], row=replace(rows[4].row, actor="mallory"))
    forged = [replace(chains[0], rows=rows), *chains[1:]]
    folder = write_bundle(tmp_path / "b", forged, signer=signer)
    assert verify(folder)[0] == 0
    code, said = verify(folder, "--mac-keys", write_mac_keys(folder, chains))
    assert code == 1
    assert "FOUND: event 5 of chain 1, id 1005, is not what the service wrote" in said
    whole = write_bundle(tmp_path / "w", chains, signer=signer)
    assert verify(whole, "--mac-keys", write_mac_keys(whole, chains))[0] == 0
    assert verify(whole, "--mac-keys", write_mac_keys(whole, chains[:2]))[0] == 1


def test_findings_of_the_service_are_in_the_verdict(tmp_path: Path, chains: list[MadeChain]) -> None:
    folder = write_bundle(tmp_path / "b", chains, findings=["row 3 of chain 1 was changed"])
    code, said = verify(folder)
    assert (code, "row 3 of chain 1 was changed" in said) == (1, True)


def test_a_chain_that_is_missing_is_named(tmp_path: Path, chains: list[MadeChain]) -> None:
    folder = write_bundle(tmp_path / "b", [chains[0], chains[2]])
    assert "FOUND: the chains from 2 to 2 are missing" in verify(folder)[1]


def test_heads_outside_reveal_what_was_cut_off(tmp_path: Path, chains: list[MadeChain]) -> None:
    genuine = {chains[0].id: chains[0].head(7), chains[1].id: chains[1].head(5)}
    assert verify(write_bundle(tmp_path / "a", chains, heads=genuine))[0] == 0
    beyond = {chains[0].id: Head(9, bytes(32))}
    assert (
        "chain 1 was cut off: a head tells of event 9"
        in verify(write_bundle(tmp_path / "c", chains, heads=beyond))[1]
    )
    assert verify(write_bundle(tmp_path / "d", chains, heads=beyond, continues=True))[0] == 0
    other = {chains[0].id: Head(7, bytes(32))}
    assert (
        "event 7 of chain 1, id 1007, is not the one that a head"
        in verify(write_bundle(tmp_path / "e", chains, heads=other))[1]
    )
    gone = {str(make_chain(9, 1).chain.audit_chain_id): Head(1, bytes(32))}
    assert "a kept head names it" in verify(write_bundle(tmp_path / "f", chains, heads=gone))[1]


def test_a_bundle_of_a_window_may_begin_in_the_middle_of_a_chain(
    tmp_path: Path, chains: list[MadeChain]
) -> None:
    heads = {chains[0].id: chains[0].head(8)}
    folder = write_bundle(tmp_path / "b", chains[:1], first=4, heads=heads)
    assert verify(folder, "--mac-keys", write_mac_keys(folder, chains[:1]))[0] == 0
    behind = write_bundle(tmp_path / "c", chains[:1], first=9, heads=heads)
    assert verify(behind)[0] == 0
    cut = write_bundle(tmp_path / "d", chains[:1], first=9, heads={chains[0].id: Head(9, bytes(32))})
    assert "chain 1 was cut off" in verify(cut)[1]


def test_a_damaged_manifest_is_reported_without_a_traceback(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("[")
    assert verify(bundle)[0] == 1
    (bundle / "manifest.json").unlink()
    assert verify(bundle)[0] == 1


def test_the_signature_check_agrees_with_a_library() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    for number in range(20):
        message = number.to_bytes(2, "big")
        signature = private.sign(message, ec.ECDSA(hashes.SHA256()))
        numbers = private.public_key().public_numbers()
        assert verifier.is_signed(message, signature, (numbers.x, numbers.y))
        assert not verifier.is_signed(message + b"x", signature, (numbers.x, numbers.y))


@pytest.mark.parametrize(
    "signature",
    ["", "3006020100020101", "3006020101020100", "30080201010201010000", "3006020101020101", "ff" * 70],
)
def test_a_malformed_signature_signs_nothing(signature: str) -> None:
    try:
        signed = verifier.is_signed(b"", bytes.fromhex(signature), verifier.G)
    except ValueError:
        return
    assert not signed


def test_a_bundle_holds_the_verifier_which_runs_without_anything_of_ours(
    bundle: Path, signer: Signer
) -> None:
    assert (bundle / "verify.py").read_bytes() == Path(verifier.__file__).read_bytes()
    for options in ((), ("--fingerprint", signer.key.fingerprint), ("--fingerprint", "SHA256:none")):
        assert verify_as_a_stranger(bundle, *options) == verify(bundle, *options)


def test_the_verifier_needs_the_standard_library_alone() -> None:
    source = Path(verifier.__file__).read_text()
    imported = re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE)
    assert set(imported) <= set(sys.stdlib_module_names)
