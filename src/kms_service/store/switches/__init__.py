"""Rows of what operators switch for all replicas."""
