"""The parent of several worker processes, which imports nothing else of the service."""
