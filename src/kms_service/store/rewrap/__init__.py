"""Rows of the rewrap jobs."""
