"""Rows of `wallets`."""
