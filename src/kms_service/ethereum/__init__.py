"""Ethereum's own rules: mnemonics, derivation, addresses, signatures. Only here are their libraries imported.

`eth_account` takes half a second to import. Only `signing` needs it, and imports it when it is first used.
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
