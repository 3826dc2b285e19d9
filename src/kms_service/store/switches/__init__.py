"""Rows that hold what operators switch for all replicas."""
