"""The pictures of the documents show the code as it is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "src/kms_service/service/wallets"
PICTURES = ["overview.svg", "layers.svg", "private-key.svg"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    subprocess.run(  # noqa: S603 # our own script
        [sys.executable, "-B", str(ROOT / "scripts/pictures"), "--into", str(folder)], check=True
    )
    return folder


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_the_code_says_now(pictures: Path, name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == (pictures / name).read_text(), "run: python scripts/pictures"


def test_every_folder_of_services_is_on_the_page() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    for folder in (ROOT / "src/kms_service/service").glob("*/__init__.py"):
        assert f"| {folder.parent.name} |" in page, folder.parent.name


def _calls(file: Path, function: str) -> list[str]:
    """What a function calls, in the order of the text."""
    functions = [
        node
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function
    ]
    (node,) = functions
    calls = sorted(
        (each for each in ast.walk(node) if isinstance(each, ast.Call)),
        key=lambda each: (each.func.end_lineno or 0, each.func.end_col_offset or 0),
    )
    return [ast.unparse(each.func) for each in calls]


@pytest.mark.invariant(3)
@pytest.mark.parametrize(
    ("file", "function", "steps"),
    [
        (
            "release.py",
            "release",
            ["admit", "judge", "find_encrypted", "take", "open", "perform", "check_seal", "record"],
        ),
        ("opening.py", "_open", ["_kms.decrypt", "envelope.decrypt", "_match"]),
    ],
)
def test_the_road_of_a_private_key_has_the_order_of_the_picture(
    file: str, function: str, steps: list[str]
) -> None:
    calls = _calls(SERVICE / file, function)
    places = [next(at for at, call in enumerate(calls) if f".{call}".endswith(f".{step}")) for step in steps]
    assert places == sorted(places)
