"""Heads of audit chains outside the database, where its owner cannot remove them."""
