"""Rows about the pool's keys."""
