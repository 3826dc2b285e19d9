"""Signing policies: documents that say what a token may do with wallets' keys, and how they are applied.

The judging itself does no I/O: a document, an operation and a user's id go in, a judgement comes out.
"""
