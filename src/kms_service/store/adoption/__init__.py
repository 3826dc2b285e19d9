"""The table of the ported service, which is only read."""
