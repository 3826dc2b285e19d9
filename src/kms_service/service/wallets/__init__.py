"""Wallets: created, imported, found, opened, used and verified."""
