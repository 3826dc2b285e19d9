"""Draws the layers of the package: rows from import-linter's contract, words from the docstrings."""

import ast
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from svg import arrow, box, page, text

ROOT = Path(__file__).parents[2]
PACKAGE = "kms_service"
WIDTH, MARGIN, GAP, ROW_GAP = 1000, 20, 12, 26
CHARACTER = 6.3
"""Approximate width of a character of the small text in pixels, for wrapping lines."""


@dataclass(frozen=True, slots=True)
class Room:
    """One box: a package or module of a layer, its docstring's promise, and the folders or modules in it."""

    name: str
    promise: str
    parts: tuple[str, ...]


def layers() -> list[list[Room]]:
    """The layers from the top, each with its independent siblings, as the contract has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each["name"] == "Imports point one way"]
    return [_rooms(layer) for layer in contract["layers"]]


def _rooms(layer: str) -> list[Room]:
    modules: dict[str, list[str]] = {}
    for name in layer.replace("(", "").replace(")", "").split("|"):
        _, room, *part = name.strip().split(".")
        modules.setdefault(room, []).extend(part)
    return [_room(name, parts) for name, parts in modules.items()]


def _room(name: str, parts: list[str]) -> Room:
    folder = ROOT / "src" / PACKAGE / name
    if not folder.is_dir():
        return Room(name, _promise(folder.with_suffix(".py")), ())
    if len(parts) == 1:
        return Room(name, _promise(folder / f"{parts[0]}.py"), tuple(parts))
    if parts:
        return Room(name, _promise(folder / "__init__.py"), tuple(parts))
    folders = sorted(each.parent.name for each in folder.glob("*/__init__.py"))
    return Room(name, _promise(folder / "__init__.py"), tuple(folders))


def _promise(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return docstring.split("\n\n")[0].replace("\n", " ").replace("`", "")


def draw() -> str:
    """The picture of the layers."""
    shapes: list[str] = []
    y = float(MARGIN)
    for row in layers():
        if shapes:
            shapes.append(arrow(WIDTH / 2, y - ROW_GAP + 3, WIDTH / 2, y - 3))
        width = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) / len(row)
        lines = [_lines(room, width) for room in row]
        height = 34 + 15 * max(len(each) for each in lines)
        for place, (room, words) in enumerate(zip(row, lines, strict=True)):
            x = MARGIN + place * (width + GAP)
            shapes += [box(x, y, width, height), text(x + 12, y + 22, room.name, "title")]
            shapes += [text(x + 12, y + 40 + 15 * n, *line) for n, line in enumerate(words)]
        y += height + ROW_GAP
    title = "Layers of the package; each imports only from those below it"
    return page(WIDTH, round(y - ROW_GAP + MARGIN), title, shapes)


def _lines(room: Room, width: float) -> list[tuple[str, str]]:
    columns = int((width - 24) / CHARACTER)
    return [*_wrap(" · ".join(room.parts), columns, "code"), *_wrap(room.promise, columns, "small")]


def _wrap(words: str, columns: int, style: str) -> Iterator[tuple[str, str]]:
    yield from ((line, style) for line in textwrap.wrap(words, columns, break_on_hyphens=False))
