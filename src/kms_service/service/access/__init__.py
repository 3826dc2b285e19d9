"""Tokens, and the authentication of callers by them."""
