"""Keccak-256 and EIP-55 addresses."""

from Crypto.Hash import keccak

_PUBLIC_KEY_BYTES = 65
_ADDRESS_BYTES = 20


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it, which is not NIST's SHA3-256: 32 bytes."""
    return keccak.new(digest_bits=256, data=data).digest()


def address_of(public_key: bytes) -> str:
    """The EIP-55 address of an uncompressed SEC 1 public key (0x04, then 64 bytes).

    Raises:
        ValueError: this is not an uncompressed public key.
    """
    if len(public_key) != _PUBLIC_KEY_BYTES or not public_key.startswith(b"\x04"):
        raise ValueError("an uncompressed public key is 0x04 and 64 bytes")
    return add_checksum(keccak256(public_key[1:])[-_ADDRESS_BYTES:])


def add_checksum(address: bytes) -> str:
    """The 20 bytes of an address in hex, with EIP-55's checksum in the case of the letters.

    Source: https://eips.ethereum.org/EIPS/eip-55
    """
    plain = address.hex()
    digest = keccak256(plain.encode()).hex()
    return "0x" + "".join(
        letter.upper() if nibble > "7" else letter for letter, nibble in zip(plain, digest, strict=False)
    )
