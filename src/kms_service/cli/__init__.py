"""The `kms-service` command."""

from kms_service.cli.root import main

__all__ = ["main"]
