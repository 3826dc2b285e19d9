"""Text from elsewhere is shown without being obeyed by a terminal: one function, wherever people read it."""

import ast
import io
import json
import logging
import unicodedata
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import kms_service
from kms_service.cli.lines import tell, warn
from kms_service.cli.screen import safe_text, screen
from kms_service.telemetry import logs
from kms_service.telemetry.printable import printable, printable_lines

CLI = Path(kms_service.__file__).parent / "cli"
HOSTILE = {
    "ESC": "\x1b[2J\x1b]0;owned\x07",
    "BEL": "\x07",
    "CR": "fine\rforged",
    "newline": "fine\nforged",
    "backspace": "ab\b\bcd",
    "DEL": "a\x7fb",
    "C1": "\x9b2J\x85next",
    "override": "\u202egnp.exe",
    "isolates": "\u2066a\u2069\u200f",
    "line separator": "a\u2028b\u2029c",
    "invisible": "pay\u200bments\ufeff",
    "tag": "a\U000e0041b",
}


def control_characters(text: str) -> set[str]:
    """What of `text` a terminal would obey, hide or reorder."""
    kinds = {"Cc", "Cf", "Zl", "Zp", "Cs"}
    return {character for character in text if unicodedata.category(character) in kinds}


@pytest.mark.parametrize("kind", HOSTILE)
def test_everything_that_a_terminal_obeys_is_escaped(kind: str) -> None:
    shown = printable(HOSTILE[kind])
    assert not control_characters(shown)
    assert json.loads(f'"{shown}"') == HOSTILE[kind], "nothing is lost"


@given(st.text())
def test_escaping_loses_nothing_and_leaves_nothing_to_obey(text: str) -> None:
    text = text.replace("\\", "").replace('"', "")
    shown = printable(text)
    assert not control_characters(shown)
    assert json.loads(f'"{shown}"') == text
    line = json.dumps({"reason": text}, ensure_ascii=False)
    assert json.loads(printable(line)) == {"reason": text}, "a line of JSON stays what it was"


def test_ordinary_text_stays_as_it_is() -> None:
    for text in ("Zürich, 東京 — ₿ 1.5 ✔", "", 'a "quoted" \\ back slash'):
        assert printable(text) == text
    assert printable_lines("a\nb\x1b") == "a\nb\\u001b"


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_printed_value_stays_on_one_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    tell(f"reason {HOSTILE[kind]}", "end")
    warn(f"reason {HOSTILE[kind]}")
    screen().print(safe_text(f"reason [red]{HOSTILE[kind]}"), soft_wrap=True)
    printed = capsys.readouterr()
    assert control_characters(printed.out) == control_characters(printed.err) == {"\n"}
    assert (printed.out.count("\n"), printed.err.count("\n")) == (3, 1)
    assert "[red]" in printed.out


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_logged_event_stays_on_one_line(kind: str, log_format: logs.LogFormat) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        logs.configure("INFO", log_format, stream)
        logs.get_logger().info("sealed", reason=HOSTILE[kind], **{f"k{HOSTILE[kind]}": [HOSTILE[kind]]})
        logging.getLogger("uvicorn.error").warning("from %s", HOSTILE[kind])
    finally:
        root.handlers, root.level = handlers, level
        structlog.reset_defaults()
    assert control_characters(stream.getvalue()) == {"\n"}
    assert stream.getvalue().count("\n") == 2


def test_no_command_prints_without_it() -> None:
    """Modules that print by themselves are listed here: none of them prints text from elsewhere."""
    past = set()
    for path in CLI.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {
                "click.echo",
                "click.secho",
                "print",
                "sys.stdout.write",
                "sys.stderr.write",
            }:
                past.add(path.relative_to(CLI).as_posix())
    assert past == {"lines.py", "process/supervision/lines.py", "process/supervision/supervisor.py"}
