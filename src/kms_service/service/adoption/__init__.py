"""Adopts the wallets of the service that this one ports."""
