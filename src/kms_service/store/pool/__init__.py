"""Rows about the keys of the pool."""
