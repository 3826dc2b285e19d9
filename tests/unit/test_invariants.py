"""Every invariant has a test that cites its number (invariant 11)."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_MARK = re.compile(r"mark\.invariant\((\d+)\)")
_ROW = re.compile(r"^(\d+)\. ", re.MULTILINE)


def _stated_numbers() -> set[int]:
    section = (ROOT / "docs/architecture.md").read_text().split("\n## Invariants\n")[1].split("\n## ")[0]
    return {int(number) for number in _ROW.findall(section)}


@pytest.mark.invariant(11)
def test_every_stated_invariant_is_cited_by_a_test() -> None:
    cited = {
        int(number) for path in ROOT.glob("tests/**/test_*.py") for number in _MARK.findall(path.read_text())
    }
    assert _stated_numbers() == set(range(1, len(_stated_numbers()) + 1))
    assert cited == _stated_numbers()
