"""Signing policies: documents that say what a token may do with wallets' keys, and the judging by them.

Nothing in here waits or asks: a document, an operation and a user's id go in, a judgement comes out.
"""
