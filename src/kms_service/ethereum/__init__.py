"""Ethereum's own rules: mnemonics, derivation, addresses, signatures; the only importer of their libraries.

`eth_account` takes half a second to import, which only `signing` needs: it imports it when first used.
"""

from kms_service.ethereum.derivation import (
    DERIVATION_PATH,
    Account,
    account_of,
    derive,
    derive_imported,
    fault_of_phrase,
    generate_mnemonic,
)

__all__ = [
    "DERIVATION_PATH",
    "Account",
    "account_of",
    "derive",
    "derive_imported",
    "fault_of_phrase",
    "generate_mnemonic",
]
