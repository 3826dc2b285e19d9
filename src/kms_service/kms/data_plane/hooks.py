"""Lets botocore's `before-send` hooks answer instead of AWS, as moto's in-process mocks need.

Only hooks that somebody added to botocore's own list count, and only if botocore is loaded at all, so that a
serving process pays for one comparison.
"""

import sys
from typing import TYPE_CHECKING, Any

from kms_service.kms.data_plane.connection import Answer

if TYPE_CHECKING:
    from botocore.hooks import HierarchicalEmitter

_EVENT = "before-send"


class Hooks:
    """Asks the hooks that are registered now. They run on the event loop, since they are for tests."""

    def __init__(self) -> None:
        self._seen = 0
        self._emitter: HierarchicalEmitter | None = None

    def answer(self, operation: str, url: str, headers: dict[str, str], body: bytes) -> Answer | None:
        """The first answer of a hook to this request; None if no hook has one, so that it must be sent."""
        emitter = self._current_emitter()
        if emitter is None:
            return None
        from botocore.awsrequest import AWSPreparedRequest  # noqa: PLC0415 # botocore is loaded if this runs
        from botocore.compat import HTTPHeaders  # noqa: PLC0415 # as above
        from botocore.hooks import first_non_none_response  # noqa: PLC0415 # as above

        request = AWSPreparedRequest("POST", url, HTTPHeaders.from_dict(headers), body, stream_output=False)
        said: Any = first_non_none_response(emitter.emit(f"{_EVENT}.kms.{operation}", request=request))
        if said is None:
            return None
        lowered = {name.lower(): str(value) for name, value in said.headers.items()}
        return Answer(said.status_code, lowered, said.content)

    def _current_emitter(self) -> "HierarchicalEmitter | None":
        handlers: Any = sys.modules.get("botocore.handlers")
        if handlers is None:
            return None
        if len(handlers.BUILTIN_HANDLERS) != self._seen:
            self._seen = len(handlers.BUILTIN_HANDLERS)
            self._emitter = _emitter(handlers.BUILTIN_HANDLERS)
        return self._emitter


def _emitter(handlers: list[tuple[Any, ...]]) -> "HierarchicalEmitter | None":
    from botocore.hooks import HierarchicalEmitter  # noqa: PLC0415 # botocore is loaded if this runs

    foreign = [entry for entry in handlers if entry[0].startswith(_EVENT) and not _is_botocores(entry[1])]
    if not foreign:
        return None
    emitter = HierarchicalEmitter()
    for event, handler, *_ in foreign:
        emitter.register(event, handler)
    return emitter


def _is_botocores(handler: object) -> bool:
    return getattr(handler, "__module__", "").startswith("botocore.")
