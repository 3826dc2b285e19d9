"""The few shapes that the pictures are made of, as text; light and dark follow the reader's settings."""

from collections.abc import Iterable
from xml.sax.saxutils import escape

_STYLE = """
  text { font: 12px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2933; }
  .title { font-size: 15px; font-weight: 600; }
  .small { font-size: 11px; fill: #52606d; }
  .code { font: 11px ui-monospace, 'DejaVu Sans Mono', monospace; fill: #334e68; }
  .page { fill: #ffffff; }
  .box { fill: #f5f7fa; stroke: #9fb3c8; }
  .inner { fill: #e3f0e8; stroke: #5f9f7b; }
  .outer { fill: #fdf3e1; stroke: #d9a441; }
  .stop { fill: #fbe9e9; stroke: #cf6d6d; }
  .line { stroke: #7b8794; fill: none; }
  .lane { stroke: #cbd2d9; stroke-dasharray: 3 4; }
  .head { fill: #7b8794; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb; }
    .small { fill: #9aa5b1; }
    .code { fill: #9fb3c8; }
    .page { fill: #0d1117; }
    .box { fill: #1b2430; stroke: #486581; }
    .inner { fill: #15291f; stroke: #3f7d5c; }
    .outer { fill: #2e2512; stroke: #97742c; }
    .stop { fill: #331b1b; stroke: #8f4848; }
    .lane { stroke: #3e4c59; }
  }
"""


def page(width: int, height: int, title: str, shapes: Iterable[str]) -> str:
    """A whole SVG file; `title` is what a screen reader says."""
    body = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n'
        f'<rect class="page" width="{width}" height="{height}" rx="8"/>\n{body}\n</svg>\n'
    )


def box(x: float, y: float, width: float, height: float, style: str = "box") -> str:
    """A rounded rectangle."""
    return f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """One line of text on the base line `y`."""
    return f'<text class="{style}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str = "line") -> str:
    """A straight line without a head."""
    return f'<line class="{style}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """A horizontal or vertical line with a head at its end."""
    if y1 == y2:
        back = -7 if x2 > x1 else 7
        head = f"{x2:g},{y2:g} {x2 + back:g},{y2 - 4:g} {x2 + back:g},{y2 + 4:g}"
    else:
        back = -7 if y2 > y1 else 7
        head = f"{x2:g},{y2:g} {x2 - 4:g},{y2 + back:g} {x2 + 4:g},{y2 + back:g}"
    return f'{line(x1, y1, x2, y2)}<polygon class="head" points="{head}"/>'
