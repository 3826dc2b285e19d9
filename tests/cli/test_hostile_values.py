"""Every option and argument of every command, at and past its bounds: one line says what is wrong."""

import io
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click
import pytest

from commands import Run
from kms_service.cli.root import root
from kms_service.cli.times import Moment, Span
from kms_service.service.wallets import verify

TIMES = ["0001-01-01", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "99999d", "2026-02-30"]
SPANS = ["99999d", "0m", "-1d", "1e9h", "99999999999d"]
NUMBERS = ["0", "-1", "1e400", "nan", "inf", str(1 << 63), "1" * 400]
TEXTS = ["", "a\x1b[2J", "\udcff", "x" * 5000, "%s", "0001-01", "arn:aws:kms:::key/"]
# They serve, take what they are told to elsewhere, or wait for somebody.
NOT_HERE = {"serve", "local", "migrate", "local demo"}
# What is needed besides, to get as far as the value itself.
BESIDE = {
    "token create": ["--scope", "pool:read"],
    "seal": ["--reason", "a drill"],
    "rotation start": ["--from", "Empressa-wallet-key-1"],
    "audit export": ["--out", "evidence"],
    "audit release-mac-keys": ["--out", "evidence", "--reason", "a drill"],
    "audit report": ["--month", "2026-11", "--out", "evidence"],
    "audit reconcile": ["--cloudtrail", "/nonexistent"],
    "adopt": ["--from", "postgresql://127.0.0.1:9/none"],
    "policy set": ["--file", "/nonexistent"],
}


Path = tuple[str, ...]


def _commands(group: click.Group = root, path: Path = ()) -> Iterator[tuple[Path, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        elif " ".join((*path, name)) not in NOT_HERE:
            yield (*path, name), command


def _values(kind: click.ParamType[Any]) -> list[str]:
    if isinstance(kind, Moment):
        return TIMES
    if isinstance(kind, Span):
        return SPANS
    return NUMBERS if isinstance(kind, click.IntRange | click.FloatRange) or kind.name == "integer" else TEXTS


def _tries(path: Path, command: click.Command) -> Iterator[list[str]]:
    beside = BESIDE.get(" ".join(path), [])
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.is_flag:
            for value in _values(parameter.type):
                yield [*path, *beside, f"{parameter.opts[0]}={value}", *("fine" for _ in arguments)]
        elif isinstance(parameter, click.Argument):
            for value in _values(parameter.type):
                yield [*path, *beside, "--", value]


@pytest.mark.parametrize("name", [" ".join(path) for path, _ in _commands()])
def test_no_value_ends_in_a_traceback(
    run: Run, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("written"))
    monkeypatch.setattr(verify, "BACK_OFF_SECONDS", (0.01,))  # a Region that is none does not answer
    monkeypatch.setenv("KMS_KEY_POOL_SIZE", "1")  # each command describes every key first
    command = dict(_commands())[tuple(name.split())]
    for words in _tries(tuple(name.split()), command):
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        done = run(*words)
        assert done.code in {0, 1, 2, 69, 75, 78, 130}, words


def test_spans_end_before_the_calendar_does() -> None:
    with pytest.raises(click.BadParameter):
        Moment().convert("99999d", None, None)
    assert Span().convert("99999d", None, None) == timedelta(days=99999)


@pytest.mark.parametrize(
    "words",
    [
        ["export"],
        ["release-mac-keys", "--reason", "a drill"],
        ["report", "--month", "2026-01"],
    ],
    ids=lambda words: words[0],
)
def test_no_file_takes_the_place_of_a_device(
    run: Run, words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As /dev/null is a device in a folder of root's."""
    pipe = tmp_path_factory.mktemp("devices") / "pipe"
    os.mkfifo(pipe)
    done = run("audit", *words, "--out", str(pipe))
    assert (done.code, f"{pipe} is not a file" in done.err) == (1, True)
    assert pipe.is_fifo()
