"""Rows of the ported service, and the same secrets in other services' layouts."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, GCM

# Made by the ported kind of code (Node, ethers, the AWS SDK for JavaScript) against a stand-in for KMS; `dek`
# is what that stand-in unwraps. Test data: no key here ever held anything.
ORIGINALS: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "original_rows.jsonl").read_text().splitlines()
]
PHRASE = "test test test test test test test test test test test junk"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
DEK = bytes(range(32))


def encrypt(plaintext: bytes, key: bytes = DEK, iv_bytes: int = 12) -> tuple[bytes, bytes, bytes]:
    """Initialisation vector, tag and ciphertext under AES-GCM without associated data."""
    iv = hashlib.sha256(b"iv" + plaintext).digest()[:iv_bytes]
    encryptor = Cipher(AES(key), GCM(iv)).encryptor()
    ciphertext = encryptor.update(plaintext) + encryptor.finalize()
    return iv, encryptor.tag, ciphertext


def layouts(plaintext: bytes, key: bytes = DEK) -> dict[str, tuple[str, str]]:
    """By name: the layout to be told, and the text."""
    iv, tag, body = encrypt(plaintext, key)
    long_iv, long_tag, long_body = encrypt(plaintext, key, 16)
    return {
        "hex": ("hex-iv-tag-ct", ":".join(part.hex() for part in (iv, tag, body))),
        "hex in capitals": ("hex-iv-tag-ct", ":".join(part.hex().upper() for part in (iv, tag, body))),
        "hex, iv of 16": ("hex-iv-tag-ct", ":".join(part.hex() for part in (long_iv, long_tag, long_body))),
        "base64, tag first": ("base64-iv-tag-ct", b64(iv + tag + body)),
        "base64, tag last": ("base64-iv-ct-tag", b64(iv + body + tag)),
        "base64 parts, colons": ("base64-parts", ":".join(map(b64, (iv, tag, body)))),
        "base64 parts, points": ("base64-parts", ".".join(map(b64, (iv, tag, body)))),
        "base64 parts, tag last": ("base64-parts", ":".join(map(b64, (iv, body, tag)))),
        "base64 parts behind v1:": ("base64-parts", "v1:" + ":".join(map(b64, (iv, tag, body)))),
        "base64 parts behind v1.": ("base64-parts", "v1." + ".".join(map(b64, (iv, tag, body)))),
        "base64 parts, iv of 16": ("base64-parts", ":".join(map(b64, (long_iv, long_tag, long_body)))),
        "JSON": (
            "json",
            json.dumps({"iv": b64(iv), "authTag": b64(tag), "ciphertext": b64(body)}),
        ),
    }


def refused_texts() -> dict[str, tuple[str, str]]:
    """By name: a word that the refusal says, and the text."""
    padded = PHRASE.encode() + bytes([5]) * 5
    encryptor = Cipher(AES(DEK), CBC(bytes(16))).encryptor()
    cbc = encryptor.update(padded) + encryptor.finalize()
    iv, tag, body = encrypt(PHRASE.encode())
    return {
        "OpenSSL": ("Salted__", b64(b"Salted__" + bytes(8) + cbc)),
        "OpenSSL, bare": ("Salted__", "Salted__" + cbc.hex()),
        "CBC in hex": ("AES-CBC", f"{bytes(16).hex()}:{cbc.hex()}"),
        "CBC in base64": ("AES-CBC", f"{b64(bytes(16))}:{b64(cbc)}"),
        "keystore": ("keystore", json.dumps({"version": 3, "crypto": {"cipher": "aes-128-ctr"}})),
        "keystore of an old client": ("keystore", json.dumps({"version": 3, "Crypto": {}})),
        "phrase in clear": ("unencrypted", PHRASE),
        "nothing": ("not in the layout", ""),
        "words": ("not in the layout", "not a secret"),
        "JSON of another kind": ("not in the layout", "{}"),
        "JSON cut": ("not in the layout", '{"iv": '),
        "JSON list": ("not in the layout", "[1, 2, 3]"),
        "iv of 8": ("not in the layout", ":".join(part.hex() for part in (iv[:8], tag, body))),
        "tag of 12": ("not in the layout", ":".join(part.hex() for part in (iv, tag[:12], body))),
        "no ciphertext": ("not in the layout", f"{iv.hex()}:{tag.hex()}:"),
        "four parts": ("not in the layout", ":".join(part.hex() for part in (iv, tag, body, body))),
        "odd hex": ("not in the layout", f"{iv.hex()}:{tag.hex()}:{body.hex()[1:]}"),
    }


def b64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode()
