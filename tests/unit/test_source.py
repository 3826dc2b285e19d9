"""Rules about the source itself: names, lengths, promised errors, and no work at import."""

import ast
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "tools"}
# A past participle, alone or with a preposition behind it: `_opened`, `told_by`, and not `signed_integer`.
PARTICIPLE = re.compile(
    "_*([a-z]*[^e_]ed|begun|bound|broken|brought|built|caught|chosen|done|drawn|driven|fed|felt|forgotten|found"
    "|frozen|given|gone|grown|heard|held|hidden|kept|known|laid|left|lent|lost|made|meant|met|paid|proven|risen"
    "|said|seen|sent|shaken|shown|sold|sought|spent|spoken|stolen|struck|swept|taken|taught|thrown|told|torn"
    "|understood|woken|won|worn|written)"
    "(_(after|again|as|at|away|behind|by|for|from|here|in|into|later|of|off|on|only|out|to|under|up|with))?"
)
PROBE = """
import gc, importlib, pkgutil, sys, threading

def refuse(event, arguments):
    if event in {"socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.posix_spawn"}:
        raise RuntimeError(f"{event} at import")
    if event == "open" and isinstance(arguments[1], str) and set("wax+") & set(arguments[1]):
        raise RuntimeError(f"{arguments[0]} written at import")

sys.addaudithook(refuse)
import kms_service
for module in pkgutil.walk_packages(kms_service.__path__, "kms_service."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        assert threading.active_count() == 1, f"{module.name} starts a thread at import"

import sqlalchemy, botocore.client, structlog
from kms_service.settings import Settings
for kind in (sqlalchemy.Engine, botocore.client.BaseClient, Settings):
    assert not [found for found in gc.get_objects() if isinstance(found, kind)], f"a {kind} made at import"
assert not structlog.is_configured(), "logging configured at import"
"""


class Function(NamedTuple):
    path: Path
    name: str
    lines: int
    returns: str
    decorators: tuple[str, ...]


# One test a rule, not one a module: there are hundreds of modules, and a failure names those it is about.
def _modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def _nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


@cache
def _functions(folder: str) -> list[Function]:
    return [
        Function(
            path.relative_to(ROOT),
            node.name,
            (node.end_lineno or 0) - node.lineno + 1,
            ast.unparse(node.returns) if node.returns else "",
            tuple(ast.unparse(each).partition("(")[0] for each in node.decorator_list),
        )
        for path in _modules(folder)
        for node in _nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_no_file_has_a_name_that_says_nothing() -> None:
    paths = [path.relative_to(ROOT) for path in _modules("src", "tests", "scripts", "benchmarks")]
    assert not [path for path in paths if NO_NAMES & {part.removesuffix(".py") for part in path.parts}]


@pytest.mark.invariant(9)
def test_importing_does_no_work() -> None:
    """In a process of its own without any setting, which also reaches, for coverage, what runs at import."""
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    done = subprocess.run(  # noqa: S603 - this interpreter, this file's own text
        [sys.executable, "-B", "-c", PROBE],
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "HOME": "/nonexistent", **measured},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""


def test_a_module_has_at_most_three_hundred_lines() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in _modules("src")}
    assert not {path: lines for path, lines in lengths.items() if lines > 300}


def test_a_function_has_at_most_fifty_lines() -> None:
    """From `def` to its last line, docstring included: 50 lines at most."""
    assert not [function for function in _functions("src") if function.lines > 50]


def test_most_functions_are_short() -> None:
    """The median is below 10 lines, over the whole package."""
    assert statistics.median(function.lines for function in _functions("src")) < 10


def test_a_function_is_not_named_by_a_participle() -> None:
    """A verb says what a function does (`_open`, not `_opened`), a noun what it returns (`signed_integer`).

    Properties, predicates and fixtures are values, of which a participle is a plain description.
    """
    values = {"property", "cached_property", "pytest.fixture"}
    assert not {
        f"{function.path}: {function.name}"
        for folder in ("src", "clients/python/src", "benchmarks", "scripts", "tests")
        for function in _functions(folder)
        if PARTICIPLE.fullmatch(function.name)
        and function.returns != "bool"
        and values.isdisjoint(function.decorators)
    }


def test_an_error_that_a_docstring_promises_is_raised_somewhere() -> None:
    """Names under `Raises:`, with or without their module: something must raise each of these classes."""
    paths = _modules("src")
    promised = {
        name.strip().rpartition(".")[2]
        for path in paths
        for node in _nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for line in (ast.get_docstring(node) or "").partition("Raises:")[2].splitlines()
        if (names := re.match(r"\s*([A-Z][\w., ]*): ", line))
        for name in names[1].split(",")
    }
    package = "\n".join(path.read_text() for path in paths)
    raised = set(re.findall(r"\b([A-Z]\w*)(?:\(|\b(?= from|$))", package, flags=re.MULTILINE))
    assert len(promised) > 50
    assert not promised - raised


def test_tests_sleep_in_one_place_only() -> None:
    """No sleep but in `waiting` and `event_loop`: a test waits for what it is about, or lets a clock pass."""
    sleeping = {
        path.relative_to(ROOT / "tests").as_posix()
        for path in _modules("tests")
        for node in _nodes(path)
        if (isinstance(node, ast.Attribute) and node.attr == "sleep")
        or (isinstance(node, ast.ImportFrom) and "sleep" in {name.name for name in node.names})
    }
    assert sleeping == {"waiting.py", "event_loop.py"}


def test_a_folder_holds_at_most_twelve_modules() -> None:
    modules = [path.relative_to(ROOT) for path in _modules("src") if path.name != "__init__.py"]
    counts = Counter(path.parent for path in modules)
    assert not {folder: count for folder, count in counts.items() if count > 12}, "these want a second axis"
