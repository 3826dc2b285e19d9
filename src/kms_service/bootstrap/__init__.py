"""Builds and wires all objects; nothing else makes a client, an engine or a service."""

from kms_service.bootstrap.build import build
from kms_service.bootstrap.services import Services

__all__ = ["Services", "build"]
