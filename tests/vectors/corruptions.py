"""Everything that must not open, each with its reason."""

from collections.abc import Iterator
from dataclasses import replace

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from vectors import derivation
from vectors.rows import (
    ABOUT,
    JUNK,
    LABELS,
    Row,
    account_row_of,
    associated_data,
    draw,
    draw_nonce,
    row_of,
    seal,
)

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def bad_envelopes() -> Iterator[tuple[str, Row]]:
    """Reason and row of everything in version 1 whose tag does not hold, or is not looked at."""
    yield from _bad_envelopes(row_of("alice", JUNK), row_of("bob", ABOUT), JUNK.encode())


def bad_account_envelopes() -> Iterator[tuple[str, Row]]:
    """The same in version 2."""
    key, other = derivation.private_key(JUNK), derivation.private_key(ABOUT)
    row, other_row = account_row_of("alice", key, JUNK), account_row_of("bob", other, ABOUT)
    yield from _bad_envelopes(row, other_row, key + JUNK.encode())
    first = row_of("alice", JUNK)
    yield "version 1 told to be version 2", replace(first, encrypted_seed=b"\x02" + first.encrypted_seed[1:])


def _bad_envelopes(row: Row, other: Row, plaintext: bytes) -> Iterator[tuple[str, Row]]:
    yield from _other_layouts(row, other)
    yield from _flipped_bits(row)
    yield from _other_identities(row, other)
    yield from _other_associated_data(row, plaintext)
    yield from _other_deks(row, other)
    yield from _other_ciphers(row, plaintext)


def _other_layouts(row: Row, other: Row) -> Iterator[tuple[str, Row]]:
    seed, nonce, body, tag = _split(row.encrypted_seed)
    _, other_nonce, other_body, other_tag = _split(other.encrypted_seed)
    for reason, changed in (
        ("version 255", b"\xff" + seed[1:]),
        (f"version {3 - seed[0]}", bytes([3 - seed[0]]) + seed[1:]),
        ("version missing", seed[1:]),
        ("empty", b""),
        ("version alone", seed[:1]),
        ("no tag", seed[:13]),
        ("shorter than version, nonce and tag", seed[:28]),
        ("no ciphertext", seed[:1] + nonce + tag),
        ("last byte missing", seed[:-1]),
        ("tag missing", seed[:-16]),
        ("tag cut to 12 bytes", seed[:-4]),
        ("first byte of the ciphertext missing", seed[:13] + body[1:] + tag),
        ("trailing byte", seed + b"\x00"),
        ("twice over", seed + seed),
        ("tag before the ciphertext", seed[:1] + nonce + tag + body),
        ("nonce after the tag", seed[:1] + body + tag + nonce),
        ("nonce of another row", seed[:1] + other_nonce + body + tag),
        ("ciphertext of another row", seed[:1] + nonce + other_body + tag),
        ("tag of another row", seed[:1] + nonce + body + other_tag),
        ("sealed seed of another row", other.encrypted_seed),
        ("hexadecimal text", seed.hex().encode()),
    ):
        yield reason, replace(row, encrypted_seed=changed)


def _flipped_bits(row: Row) -> Iterator[tuple[str, Row]]:
    end = len(row.encrypted_seed)
    for where, index in (
        ("version", 0),
        ("first byte of the nonce", 1),
        ("last byte of the nonce", 12),
        ("first byte of the ciphertext", 13),
        ("last byte of the ciphertext", end - 17),
        ("first byte of the tag", end - 16),
        ("last byte of the tag", end - 1),
    ):
        for bit in (0, 7):
            changed = bytearray(row.encrypted_seed)
            changed[index] ^= 1 << bit
            yield f"bit {bit} flipped in the {where}", replace(row, encrypted_seed=bytes(changed))


def _other_identities(row: Row, other: Row) -> Iterator[tuple[str, Row]]:
    yield "another user", replace(row, user_id=other.user_id)
    yield "user in another case", replace(row, user_id="Alice")
    yield "user with a space behind", replace(row, user_id="alice ")
    yield "address of another row", replace(row, wallet_address=other.wallet_address)
    yield "address in lower case", replace(row, wallet_address=row.wallet_address.lower())
    shifted = replace(row, user_id="alice0", wallet_address=row.wallet_address[1:])
    yield "border between user and address moved", shifted
    yield "user and address exchanged", replace(row, user_id=row.wallet_address, wallet_address=row.user_id)
    yield (
        "user and address of another row",
        replace(row, user_id=other.user_id, wallet_address=other.wallet_address),
    )


def _other_associated_data(row: Row, plaintext: bytes) -> Iterator[tuple[str, Row]]:
    user, address, version = row.user_id.encode(), row.wallet_address.encode(), row.encrypted_seed[0]
    label, other = LABELS[version], LABELS[3 - version]
    short = [len(part).to_bytes(2) for part in (user, address)]
    for reason, data in (
        ("no associated data", b""),
        ("associated data without its label", short[0] + user + short[1] + address),
        ("label of another version", other + short[0] + user + short[1] + address),
        ("label without its version", label[:-1] + short[0] + user + short[1] + address),
        ("associated data without lengths", label + user + address),
        ("lengths of one byte", label + short[0][1:] + user + short[1][1:] + address),
        ("lengths of four bytes", label + bytes(2) + short[0] + user + bytes(2) + short[1] + address),
        ("little-endian lengths", label + short[0][::-1] + user + short[1][::-1] + address),
        ("lengths counted in both", label + len(user + address).to_bytes(2) + user + address),
        ("address before user", label + short[1] + address + short[0] + user),
        ("associated data without the address", label + short[0] + user),
        ("associated data without the user", label + short[1] + address),
        (
            "address bound as 20 bytes",
            label + short[0] + user + b"\x00\x14" + bytes.fromhex(row.wallet_address[2:]),
        ),
    ):
        sealed = seal(plaintext, row.dek, draw_nonce(reason), data, version)
        yield reason, replace(row, encrypted_seed=sealed)


def _other_deks(row: Row, other: Row) -> Iterator[tuple[str, Row]]:
    yield "DEK of 31 bytes", replace(row, dek=row.dek[:-1])
    yield "DEK of 33 bytes", replace(row, dek=row.dek + b"\x00")
    yield "DEK of 16 bytes", replace(row, dek=row.dek[:16])
    yield "DEK of no bytes", replace(row, dek=b"")
    yield "DEK of another row", replace(row, dek=other.dek)
    yield "DEK with one bit flipped", replace(row, dek=bytes([row.dek[0] ^ 1]) + row.dek[1:])
    yield "DEK of zeros", replace(row, dek=bytes(32))
    yield "DEK reversed", replace(row, dek=row.dek[::-1])


def _other_ciphers(row: Row, plaintext: bytes) -> Iterator[tuple[str, Row]]:
    version = row.encrypted_seed[0]
    nonce, data = draw_nonce("other ciphers"), associated_data(row.user_id, row.wallet_address, version)
    short_key = seal(plaintext, row.dek[:16], nonce, data, version)
    yield "AES-128-GCM", replace(row, encrypted_seed=short_key)
    yield "AES-128-GCM with its own key", replace(row, dek=row.dek[:16], encrypted_seed=short_key)
    chacha = bytes([version]) + nonce + ChaCha20Poly1305(row.dek).encrypt(nonce, plaintext, data)
    yield "ChaCha20-Poly1305", replace(row, encrypted_seed=chacha)
    long_nonce = seal(plaintext, row.dek, draw("long nonce", 16), data, version)
    yield "nonce of 16 bytes", replace(row, encrypted_seed=long_nonce)


def bad_contents() -> Iterator[tuple[str, Row]]:
    """Reason and row of everything whose tag holds and whose contents are not this wallet."""
    address = derivation.address(derivation.private_key(JUNK))
    for reason, plaintext in (
        ("phrase of another wallet", ABOUT.encode()),
        ("no phrase", b""),
        ("bytes that are no UTF-8", b"\xff\xfe" + JUNK.encode()),
        ("UTF-16", JUNK.encode("utf-16-le")),
        ("byte order mark", JUNK.encode("utf-8-sig")),
        ("private key in place of a phrase", derivation.private_key(JUNK)),
        ("two spaces between words", JUNK.replace(" ", "  ", 1).encode()),
        ("space behind the phrase", JUNK.encode() + b" "),
        ("line end behind the phrase", JUNK.encode() + b"\n"),
        ("zero byte behind the phrase", JUNK.encode() + b"\x00"),
        ("ideographic spaces", JUNK.replace(" ", "\u3000").encode()),
        ("letters that only normalise to English", JUNK.replace("t", "\uff54").encode()),
        ("capitals", JUNK.upper().encode()),
        ("abbreviated words", b"tes tes tes tes tes tes tes tes tes tes tes jun"),
    ):
        yield reason, row_of("alice", plaintext, address)
    for reason, words in (
        ("wrong checksum", "test " * 11 + "test"),
        ("word that is not in the list", "test " * 11 + "ethereum"),
        ("eleven words", "test " * 10 + "junk"),
        ("fifteen words", derivation.phrase(draw("fifteen", 20))),
        ("twenty-four words", derivation.phrase(draw("twenty-four", 32))),
        ("Spanish words", "ábaco " * 11 + "abierto"),
    ):
        yield reason, row_of("alice", words)
    sibling = derivation.private_key(JUNK, (*derivation.ETHEREUM[:-1], 1))
    yield "address at the next index", row_of("alice", JUNK, derivation.address(sibling))
    hidden = derivation.private_key(JUNK, passphrase="TREZOR")
    yield "address behind a passphrase", row_of("alice", JUNK, derivation.address(hidden))
    yield "address in lower case, sealed so", row_of("alice", JUNK, address.lower())
    yield "address in capitals, sealed so", row_of("alice", JUNK, "0x" + address[2:].upper())


def bad_accounts() -> Iterator[tuple[str, Row]]:
    """Reason and row of everything in version 2 whose tag holds and whose key is not this wallet's."""
    key, address = derivation.private_key(JUNK), derivation.address(derivation.private_key(JUNK))
    for reason, plaintext in (
        ("key of one byte", key[:1]),
        ("phrase without its key", JUNK.encode()),
        ("key of 31 bytes", key[1:]),
        ("key of another wallet", derivation.private_key(ABOUT) + JUNK.encode()),
        ("another wallet, key and phrase", derivation.private_key(ABOUT) + ABOUT.encode()),
        ("phrase before its key", JUNK.encode() + key),
        ("key in hexadecimal", key.hex().encode() + JUNK.encode()),
        ("little-endian key", key[::-1] + JUNK.encode()),
        ("key behind a zero byte", b"\x00" + key + JUNK.encode()),
        ("key with one bit flipped", bytes([key[0] ^ 1]) + key[1:] + JUNK.encode()),
        ("key of zeros", bytes(32) + JUNK.encode()),
        ("group's order for a key", ORDER.to_bytes(32) + JUNK.encode()),
        ("key above the group's order", (ORDER + 1).to_bytes(32)),
        ("key of all ones", b"\xff" * 32 + JUNK.encode()),
        ("the key's negative", (ORDER - int.from_bytes(key)).to_bytes(32) + JUNK.encode()),
        ("phrase that is no UTF-8", key + b"\xff\xfe" + JUNK.encode()),
        ("phrase cut within a letter", key + "ábaco".encode()[:1] + b"\xc3"),
    ):
        yield reason, account_row_of("alice", plaintext, b"", address)
    sibling = derivation.private_key(JUNK, (*derivation.ETHEREUM[:-1], 1))
    yield "key at the next index", account_row_of("alice", sibling, JUNK, address)
    yield "address in lower case, sealed so", account_row_of("alice", key, JUNK, address.lower())


def bad_phrases() -> Iterator[tuple[str, Row]]:
    """Reason and row of everything in version 2 whose key is right beside a phrase that is not the key's."""
    key = derivation.private_key(JUNK)
    for reason, phrase in (
        ("phrase of another wallet", ABOUT),
        ("phrase with a wrong checksum", "test " * 11 + "test"),
        ("eleven words", "test " * 10 + "junk"),
        ("thirteen words", JUNK + " test"),
        ("capitals", JUNK.upper()),
        ("space behind the phrase", JUNK + " "),
        ("one space", " "),
        ("two spaces between words", JUNK.replace(" ", "  ", 1)),
        ("byte order mark", "\ufeff" + JUNK),
        ("Spanish words", "ábaco " * 11 + "abierto"),
        ("twenty-four words of another wallet", derivation.phrase(draw("twenty-four", 32))),
    ):
        yield reason, account_row_of("alice", key, phrase)
    hidden = derivation.private_key(JUNK, passphrase="TREZOR")
    yield "key behind a passphrase", account_row_of("alice", hidden, JUNK)


def _split(seed: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    return seed, seed[1:13], seed[13:-16], seed[-16:]
