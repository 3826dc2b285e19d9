"""The table of the ported service, read and never changed."""
