"""Starting without garbage collection: the imports alone set off hundreds, which find next to nothing."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lasting() -> Iterator[None]:
    """Collect nothing in the block; what there is at its end lasts as long as the process, never walked.

    A full collection walks all that lives, and stops every request for a tenth of a second while it does.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
