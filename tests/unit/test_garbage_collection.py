"""Objects made during the start are not collected, neither while they are made nor afterwards."""

import gc
from collections.abc import Iterator

import pytest

from kms_service.garbage_collection import start_without_collection

COLLECTED_OTHERWISE = 100_000  # objects; a collection begins at some hundred


@pytest.fixture(autouse=True)
def _unfreeze() -> Iterator[None]:
    before = gc.get_freeze_count()
    yield
    if not before:
        gc.unfreeze()


def test_nothing_is_collected_in_the_block() -> None:
    collections: list[str] = []
    gc.callbacks.append(lambda phase, _: collections.append(phase))
    try:
        with start_without_collection():
            made = [[number] for number in range(COLLECTED_OTHERWISE)]
            assert collections == []
        again = [[number] for number in range(COLLECTED_OTHERWISE)]
        assert collections, "collections go on after the block"
    finally:
        gc.callbacks.pop()
    assert len(made) == len(again)


def test_objects_made_in_the_block_are_never_walked_again() -> None:
    before = gc.get_freeze_count()
    with start_without_collection():
        made = [[number] for number in range(COLLECTED_OTHERWISE)]
    assert gc.get_freeze_count() - before > len(made)


def test_an_error_switches_collection_on_again() -> None:
    with pytest.raises(ImportError), start_without_collection():
        raise ImportError
    assert gc.isenabled()
