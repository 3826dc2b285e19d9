"""The laptop mode: the real service on real PostgreSQL and a KMS stand-in, with nothing else installed."""
