"""The parent of several worker processes, which imports nothing of the service."""
