"""Rows of tokens and their uses."""
