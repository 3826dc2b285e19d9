"""Rows of the re-wrap jobs."""
