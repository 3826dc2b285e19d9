"""Credentials are renewed before anybody needs them; a source that hangs stops only processes without any."""

import asyncio
import json
import os
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from clock import Clock
from kms_service import context
from kms_service.kms.data_plane import credentials, provider_chain
from kms_service.kms.data_plane.credentials import HANGS, Credentials, fixed_walk
from kms_service.kms.data_plane.provider_chain import Loaded, NoCredentials
from kms_service.kms.data_plane.signer import AccessKeys
from waiting import wait_until_async

T = TypeVar("T")


class Source:
    """A chain of providers, as a test moves it: credentials of `lifetime` seconds, an error, or no answer.

    `walks` counts how often it was asked, `looks` how often it was asked whether they expire.
    """

    def __init__(self, lifetime: float = 3600) -> None:
        self.lifetime = lifetime
        self.walks = 0
        self.looks = 0
        self.error: str | None = None
        self.hang: threading.Event | None = None
        self.clock = Clock()

    def __call__(self) -> Loaded:
        self.walks += 1
        number, hang = self.walks, self.hang
        if hang is not None:
            hang.wait(60)
        if self.error is not None:
            raise NoCredentials(self.error)
        end = self.clock() + self.lifetime

        def expire_within(seconds: float) -> bool:
            self.looks += 1
            return self.clock() + seconds > end

        return Loaded(AccessKeys(f"AKID{number}", "secret", None), expire_within)


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    if made.hang is not None:
        made.hang.set()


@pytest.fixture
def shorten_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same events in a fraction of the time."""
    monkeypatch.setattr(credentials, "WALK_SECONDS", 0.2)
    monkeypatch.setattr(credentials, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(credentials, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(credentials, "LONGEST_PAUSE_SECONDS", 0.2)


def _with(walk: Callable[[], Loaded], act: Callable[[Credentials], Awaitable[T]]) -> T:
    async def run() -> T:
        made = Credentials(walk)
        try:
            return await act(made)
        finally:
            made.close()

    return asyncio.run(asyncio.wait_for(run(), 60))


def test_all_first_callers_wait_for_the_same_walk(source: Source) -> None:
    async def act(made: Credentials) -> list[AccessKeys]:
        assert made.problem is None
        return await asyncio.gather(*(made.current() for _ in range(20)))

    assert {keys.access_key_id for keys in _with(source, act)} == {"AKID1"}
    assert source.walks == 1


def test_credentials_from_the_settings_are_never_loaded_again() -> None:
    async def act(made: Credentials) -> AccessKeys:
        first = await made.current()
        made.distrust()
        return first

    assert _with(fixed_walk(AccessKeys("AKID", "secret", None)), act).access_key_id == "AKID"


@pytest.mark.usefixtures("shorten_times")
def test_credentials_are_replaced_ahead_of_expiry_while_nobody_waits(source: Source) -> None:
    source.lifetime = credentials.AHEAD_SECONDS - 1

    async def act(made: Credentials) -> None:
        assert (await made.current()).access_key_id == "AKID1"
        made._walked_at -= credentials.AGAIN_SECONDS
        await wait_until_async(lambda: source.walks == 2)
        await wait_until_async(lambda: made._walking is None)
        assert (await made.current()).access_key_id == "AKID2"
        seen = source.looks
        await wait_until_async(lambda: source.looks > seen + 12)
        assert source.walks == 2, "asked again before its time"

    _with(source, act)


@pytest.mark.usefixtures("shorten_times")
def test_a_source_that_hangs_stops_nothing_while_credentials_are_valid(source: Source) -> None:
    source.lifetime = credentials.AGAIN_SECONDS - 1

    async def serves_on(made: Credentials) -> None:
        with context.deadline(0):  # who has to wait gets none
            assert (await made.current()).access_key_id == "AKID1"
        assert made.problem is None

    async def act(made: Credentials) -> None:
        await made.current()
        source.hang = threading.Event()
        await wait_until_async(lambda: source.walks == 2)
        await serves_on(made)
        await wait_until_async(lambda: made._failures >= 1)
        await serves_on(made)
        await wait_until_async(lambda: made._failures >= 2)
        await serves_on(made)
        # They expire, and what needs KMS fails at once.
        source.clock.pass_by(credentials.AGAIN_SECONDS)
        await wait_until_async(lambda: made.problem is not None)
        before = time.monotonic()
        with pytest.raises(NoCredentials) as failure:
            await made.current()
        assert (failure.value.name, made.problem) == (HANGS, HANGS)
        assert time.monotonic() - before < 30  # the source would go on hanging
        # It answers again: others are there within moments, without anybody who asks.
        source.hang.set()
        source.lifetime = 3600
        await wait_until_async(lambda: made.problem is None)
        await made.current()

    _with(source, act)


@pytest.mark.usefixtures("shorten_times")
def test_the_number_of_hanging_threads_is_limited(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "MOST_WALKING", 3)
    source.hang = threading.Event()

    async def act(made: Credentials) -> None:
        with pytest.raises(NoCredentials):
            await made.current()
        begin, begun = made._begin, 0

        def begin_and_count() -> None:
            nonlocal begun
            begun += 1
            begin()

        monkeypatch.setattr(made, "_begin", begin_and_count)
        await wait_until_async(lambda: begun > 5)
        assert source.walks == 3
        assert made.problem == HANGS
        assert source.hang is not None
        source.hang.set()
        await wait_until_async(lambda: made.problem is None)

    _with(source, act)


@pytest.mark.usefixtures("shorten_times")
def test_a_source_that_fails_is_reported_and_asked_again(source: Source) -> None:
    source.error = "NoCredentialsError"

    async def act(made: Credentials) -> None:
        with pytest.raises(NoCredentials, match="NoCredentialsError"):
            await made.current()
        assert made.problem == "NoCredentialsError"
        source.error = None
        await wait_until_async(lambda: made.problem is None)
        assert (await made.current()).access_key_id.startswith("AKID")

    _with(source, act)


def test_a_wait_for_the_first_credentials_keeps_to_the_deadline(source: Source) -> None:
    source.hang = threading.Event()

    async def act(made: Credentials) -> float:
        started = time.monotonic()
        with context.deadline(0.2), pytest.raises(NoCredentials, match=HANGS):
            await made.current()
        return time.monotonic() - started

    assert _with(source, act) < 30


@pytest.mark.usefixtures("shorten_times")
def test_credentials_that_kms_refuses_are_loaded_again(source: Source) -> None:
    async def act(made: Credentials) -> None:
        await made.current()
        made._walked_at -= 10
        for _ in range(5):
            made.distrust()
        await wait_until_async(lambda: source.walks == 2)
        await wait_until_async(lambda: made._walking is None)
        assert (await made.current()).access_key_id == "AKID2"

    _with(source, act)


def test_an_unforeseen_failure_is_reported_by_its_type(source: Source) -> None:
    def walk() -> Loaded:
        raise RuntimeError("canary")

    async def act(made: Credentials) -> str | None:
        with pytest.raises(NoCredentials, match="RuntimeError") as failure:
            await made.current()
        assert "canary" not in f"{failure.value!r}"
        return made.problem

    assert _with(walk, act) == "RuntimeError"
    assert source.walks == 0


# The chain itself, with botocore's providers.


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without credentials; the path of its AWS configuration."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    config = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return config


def _program(machine: Path, script: str) -> None:
    program = machine.parent / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    machine.write_text(f"[default]\ncredential_process = {program}\n")


def _answer(lifetime: timedelta) -> str:
    expiration = (datetime.now(UTC) + lifetime).isoformat()
    answer = {"Version": 1, "AccessKeyId": "AKIDP", "SecretAccessKey": "s", "SessionToken": "t"}
    return "echo '" + json.dumps({**answer, "Expiration": expiration}) + "'"


def test_the_chain_finds_credentials_in_the_environment(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not machine.exists()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    loaded = provider_chain.walk("eu-central-1")
    assert (loaded.keys.access_key_id, loaded.keys.session_token) == ("AKIDE", None)
    assert not loaded.expire_within(1e9)
    assert "canary" not in repr(loaded)


def test_a_programs_credentials_expire(machine: Path) -> None:
    _program(machine, _answer(timedelta(hours=1)))
    loaded = provider_chain.walk("eu-central-1")
    assert (loaded.keys.access_key_id, loaded.keys.session_token) == ("AKIDP", "t")
    assert (loaded.expire_within(0), loaded.expire_within(3590), loaded.expire_within(3610)) == (
        False,
        False,
        True,
    )


def test_a_program_that_hangs_is_ended(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_chain, "PROCESS_SECONDS", 0.3)
    _program(machine, "exec sleep 60")
    started = time.monotonic()
    with pytest.raises(NoCredentials, match="TimeoutExpired"):
        provider_chain.walk("eu-central-1")
    assert time.monotonic() - started < 50


@pytest.mark.parametrize(
    ("script", "name"),
    [("echo canary >&2; exit 1", "CredentialRetrievalError"), ("echo canary", "JSONDecodeError")],
)
def test_the_output_of_a_program_appears_nowhere(machine: Path, script: str, name: str) -> None:
    _program(machine, script)
    with pytest.raises(NoCredentials) as failure:
        provider_chain.walk("eu-central-1")
    assert failure.value.name == name
    assert "canary" not in f"{failure.value!r}"
    assert failure.value.__suppress_context__


def test_a_machine_without_credentials_says_so(machine: Path) -> None:
    assert not machine.exists()
    with pytest.raises(NoCredentials, match="NoCredentialsError"):
        provider_chain.walk("eu-central-1")


@pytest.mark.parametrize(
    ("config", "profile", "name"),
    [
        ("[profile\nbroken", None, "ConfigParseError"),
        ("[default]\n", "other", "ProfileNotFound"),
        ("[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = none\n", None, "InvalidConfigError"),
    ],
)
def test_a_wrong_configuration_is_reported(
    machine: Path, monkeypatch: pytest.MonkeyPatch, config: str, profile: str | None, name: str
) -> None:
    machine.write_text(config)
    if profile is not None:
        monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(NoCredentials, match=name):
        provider_chain.walk("eu-central-1")


def test_an_sts_that_hangs_is_waited_for_a_few_seconds(
    machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import socket  # noqa: PLC0415 # for this test alone

    token = tmp_path / "token"
    token.write_text("web identity")
    assert not machine.exists()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/serve")
        started = time.monotonic()
        with pytest.raises(NoCredentials, match="ReadTimeoutError"):
            provider_chain.walk("eu-central-1")
        assert time.monotonic() - started < 50
