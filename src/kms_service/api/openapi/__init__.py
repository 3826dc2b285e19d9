"""The OpenAPI document: the routes as FastAPI sees them, and what it cannot know of them."""

from kms_service.api.openapi.document import describe

__all__ = ["describe"]
