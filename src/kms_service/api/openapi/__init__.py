"""The OpenAPI document: FastAPI's view of the routes, and what it cannot know about them."""

from kms_service.api.openapi.document import describe

__all__ = ["describe"]
