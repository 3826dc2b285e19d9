"""Draws the pictures of the documents: docs/overview.svg, layers.svg and private-key.svg.

    .venv/bin/python scripts/pictures [--into FOLDER]

The layers come from the contract in pyproject.toml and from docstrings, so run this again after changing
those; a test compares the result.
"""

import argparse
from pathlib import Path

import layers
import overview
import road

DOCS = Path(__file__).parents[2] / "docs"
DRAWN = {"overview.svg": overview.draw, "layers.svg": layers.draw, "private-key.svg": road.draw}


def main() -> None:
    """Write every picture."""
    parser = argparse.ArgumentParser(description="Draws the pictures of the documents.")
    parser.add_argument("--into", type=Path, default=DOCS, metavar="FOLDER", help="default: docs")
    folder = parser.parse_args().into
    for name, draw in DRAWN.items():
        (folder / name).write_text(draw())


if __name__ == "__main__":
    main()
