"""Whoever reads a count reads its noun in the right number."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kms_service
from kms_service.quantity import quantity

_PACKAGE = Path(kms_service.__file__).parent
_READ_BY_PEOPLE = ("cli", "api/console")
# After a value, a word that ends as a plural does: `{wallets:,} wallets`, `{{ more }} windows`.
_PLURAL = re.compile(r" ([a-z]+s)\b")
_IN_TEMPLATE = re.compile(r"\}\} ([a-z]+s)\b")
_NO_PLURALS = frozenset({"as", "is", "has", "was", "does", "lies", "names", "holds", "s"})


@pytest.mark.parametrize(
    ("count", "read"), [(0, "0 wallets"), (1, "1 wallet"), (2, "2 wallets"), (1200.0, "1,200 wallets")]
)
def test_one_is_singular(count: float, read: str) -> None:
    assert quantity(count, "wallet", "wallets") == read


def _plurals(path: Path) -> Iterator[str]:
    if path.suffix == ".html":
        yield from _IN_TEMPLATE.findall(path.read_text())
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            for value, text in zip(node.values, node.values[1:], strict=False):
                if isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant):
                    found = _PLURAL.match(str(text.value))
                    yield from [found[1]] if found else []


@pytest.mark.parametrize("folder", _READ_BY_PEOPLE)
def test_no_text_for_people_sets_a_plural_behind_a_value(folder: str) -> None:
    """`quantity` is to write them, which knows that 1 wallet is no wallets."""
    paths = [path for path in (_PACKAGE / folder).rglob("*") if path.suffix in {".py", ".html"}]
    found = [(path.name, word) for path in paths for word in _plurals(path) if word not in _NO_PLURALS]
    assert found == []
