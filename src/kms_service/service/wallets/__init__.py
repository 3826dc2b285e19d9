"""Wallets: created, found, opened, used, verified."""
