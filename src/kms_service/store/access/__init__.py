"""Rows of tokens, and of their uses."""
