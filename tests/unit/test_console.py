"""How the operator page shows numbers and times, and which problems it reports."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from kms_service.api.console.attention import Level, notices, worst
from kms_service.api.console.drawing import HEIGHT, sparks
from kms_service.api.console.words import age, ago, clock, most_frequent, rate, span
from kms_service.kms.aws import KeyRotation
from kms_service.kms.keys.circuit import CircuitState
from kms_service.kms.pool import DescribedKey, KeyMode, KeyStatus
from kms_service.kms.regions.routes import RegionRole, RegionState
from kms_service.service.overview import Overview, Part
from kms_service.service.pool.state import PoolKey, PoolState
from kms_service.store.pool.census import KeyCensus
from kms_service.store.rewrap.jobs import RewrapJob, RewrapStatus
from kms_service.store.switches.seal import SealChange
from kms_service.telemetry.recent import Counts, Minute, Recent

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)  # a day that is never today
WELL = DescribedKey(
    "alias/pool-1", "arn:1", KeyStatus.ACTIVE, "", NOW, rotation=KeyRotation(True, 365, NOW), told_at=NOW
)
HOME = [RegionState("eu-central-1", RegionRole.PRIMARY, CircuitState.CLOSED, "", None)]
QUIET = Recent(300, Counts(100, 0), {}, Counts(100, 0), {}, {}, frozenset(), 0, 0, [])
JOB = RewrapJob(
    uuid4(), RewrapStatus.COMPLETED, False, ["arn:1"], None, ["arn:2"], 10, "night-call", NOW, NOW, NOW,
    100, 100, 0, 0, 100, None, 1, 0, "", 0.0,
)  # fmt: skip


def _overview(*infos: DescribedKey, of_each: int = 10, **changes: Any) -> Overview:
    keys = [PoolKey(info, of_each, NOW, share=0.1) for info in infos or (WELL,)]
    return replace(
        Overview(
            NOW,
            "host",
            keys,
            HOME,
            Part(PoolState(keys, [], HOME), NOW),
            Part(None, NOW),
            Part(None, NOW),
            Part([], NOW),
            QUIET,
            None,
            schema_behind=False,
            draining=False,
        ),
        **changes,
    )


def test_nothing_is_reported_while_all_is_well() -> None:
    assert notices(_overview()) == []
    imported = replace(WELL, rotation=KeyRotation(False, None, None, supported=False))
    assert notices(_overview(imported)) == []
    assert worst([]) is Level.OK


UNUSABLE = replace(WELL, alias="alias/pool-2", status=KeyStatus.PENDING_DELETION, reason="PendingDeletion")
DENIED = replace(
    WELL, status=KeyStatus.UNAVAILABLE, reason="AccessDeniedException", circuit=CircuitState.OPEN
)
AWAY = [
    RegionState("eu-central-1", RegionRole.PRIMARY, CircuitState.OPEN, "ReadTimeoutError", NOW),
    RegionState("eu-west-1", RegionRole.FALLBACK, CircuitState.CLOSED, "", None),
]
TELLING: dict[str, tuple[Overview, Level, str]] = {
    "a Region away": (
        _overview(regions=AWAY),
        Level.WARN,
        "KMS in eu-central-1 (the primary Region) has not served since",
    ),
    "database away": (_overview(database_away_since=NOW), Level.BAD, "The database has not answered since"),
    "schema": (_overview(schema_behind=True), Level.BAD, "The schema is behind this version."),
    "sealed": (
        _overview(seal=Part(SealChange(True, "a drill", "alice", NOW), NOW)),
        Level.BAD,
        f"Sealed since {clock(NOW)} by alice: a drill.",
    ),
    "shutting down": (_overview(draining=True), Level.WARN, "This process is shutting down."),
    "pending deletion": (
        _overview(WELL, UNUSABLE),
        Level.BAD,
        "pool-2: PendingDeletion. 10 wallets (10%) are under it.",
    ),
    "denied": (_overview(WELL, DENIED), Level.BAD, "pool-1: Unavailable, AccessDeniedException."),
    "another worker": (
        _overview(recent=replace(QUIET, open_circuits=frozenset({"alias/pool-1"}))),
        Level.WARN,
        "pool-1: its circuit is open in another worker",
    ),
    "not rotated": (
        _overview(replace(WELL, rotation=KeyRotation(False, None, None))),
        Level.WARN,
        "pool-1 is not rotated by KMS.",
    ),
    "silent": (
        _overview(replace(WELL, silent_since=NOW)),
        Level.BAD,
        f"KMS has not reported the state of 1 of 1 key since {clock(NOW)}",
    ),
    "moved": (
        _overview(replace(WELL, moved_from="arn:0")),
        Level.BAD,
        "pool-1 now points at another key; before, it pointed at arn:0.",
    ),
    "outside": (
        _overview(wallets=Part(PoolState([], [KeyCensus("arn:9", None, 7, None, None)], HOME), NOW)),
        Level.WARN,
        "7 wallets are under keys outside the pool.",
    ),
    "canary": (
        _overview(recent=replace(QUIET, canaries_opened=1)),
        Level.BAD,
        "1 canary wallet was opened",
    ),
    "integrity": (
        _overview(recent=replace(QUIET, integrity_failures=2)),
        Level.BAD,
        "2 wallets did not open to their own address",
    ),
    "errors": (
        _overview(recent=replace(QUIET, requests=Counts(100, 6))),
        Level.BAD,
        "6.0% of requests end with 5xx.",
    ),
    "KMS errors": (
        _overview(recent=replace(QUIET, kms_calls=Counts(100, 6))),
        Level.BAD,
        "6.0% of calls to KMS fail.",
    ),
    "one key's errors": (
        _overview(recent=replace(QUIET, keys={"alias/pool-1": Counts(10, 1)})),
        Level.WARN,
        "pool-1: more than one call to KMS in twenty fails.",
    ),
    "rotation failed": (
        _overview(rotation=Part(replace(JOB, status=RewrapStatus.FAILED, last_error="denied"), NOW)),
        Level.WARN,
        "The last rotation failed: denied.",
    ),
    "audit log": (
        _overview(events=Part([], NOW, NOW)),
        Level.WARN,
        f"The audit log has been unreadable since {clock(NOW)}.",
    ),
}


@pytest.mark.parametrize("case", TELLING)
def test_each_problem_is_reported_by_itself(case: str) -> None:
    overview, level, words = TELLING[case]
    (notice,) = notices(overview)
    assert notice.level is level
    assert notice.what.startswith(words)


def test_the_worst_comes_first() -> None:
    overview = _overview(WELL, UNUSABLE, draining=True)
    assert [notice.level for notice in notices(overview)] == [Level.BAD, Level.WARN]


def test_a_pool_with_no_key_for_new_wallets_is_reported() -> None:
    told = [notice.what for notice in notices(_overview(replace(WELL, mode=KeyMode.DRAINING)))]
    assert told == ["No key takes new wallets."]


def test_a_key_that_was_drained_emptied_and_disabled_is_not_reported() -> None:
    retired = replace(UNUSABLE, mode=KeyMode.DRAINING)
    assert notices(_overview(WELL, retired, of_each=0)) == []
    assert notices(_overview(WELL, retired, of_each=1)) != []
    assert notices(_overview(WELL, retired, of_each=0, wallets=Part())) != []


def test_many_keys_with_one_problem_make_one_notice() -> None:
    keys = [replace(DENIED, alias=f"alias/pool-{number}") for number in range(2, 8)]
    (notice,) = notices(_overview(WELL, *keys))
    assert notice.what.startswith("pool-2, pool-3, pool-4 and 3 more: Unavailable")
    assert "60 wallets (60%) are under them" in notice.what


def test_a_few_errors_are_not_reported() -> None:
    assert notices(_overview(recent=replace(QUIET, requests=Counts(9, 9)))) == []
    assert notices(_overview(recent=replace(QUIET, requests=Counts(100, 5)))) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7200, "2 h ago"), (200_000, "2 d ago")],
)
def test_a_past_time_is_shown_as_how_long_ago_it_was(seconds: int, words: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == words


def test_a_time_that_never_came_is_shown_as_never() -> None:
    assert ago(None, NOW) == "never"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (9.6, "10 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (61, "1 min"),
        (299, "5 min"),
        (3600, "1 h"),
        (5000, "1 h 23 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0/s"), (3, "1.8/min"), (250, "2.5/s"), (123_456, "1,235/s")]
)
def test_a_rate_is_shown_per_second_or_per_minute(count: float, words: str) -> None:
    assert rate(count, 100) == words


def test_an_older_reading_says_how_old() -> None:
    before = NOW - timedelta(minutes=2)
    assert age(Part(1, NOW), NOW) == ""
    assert age(Part(1, before), NOW) == age(Part(1, before, NOW), NOW) == f"as of {clock(before)}"
    assert age(Part(1, NOW, NOW), NOW) == f"as of {clock(NOW)}"
    assert age(Part(), NOW) == "unknown"
    assert age(Part(None, None, before), NOW) == f"unknown since {clock(before)}"


def test_a_time_of_another_day_has_its_date() -> None:
    assert clock(datetime(2020, 2, 3, 4, 5, tzinfo=UTC)) == "2020-02-03 04:05"


def test_the_six_most_frequent_are_listed_first_to_last() -> None:
    counts = {f"code-{number}": float(number) for number in range(1, 10)}
    assert [name for name, _ in most_frequent(counts)] == [f"code-{number}" for number in (9, 8, 7, 6, 5, 4)]


def test_columns_are_scaled_to_the_highest_and_a_failure_always_shows() -> None:
    minutes = [None, Minute(Counts(1000, 1), Counts()), Minute(Counts(500, 0), Counts())]
    drawing = sparks(replace(QUIET, minutes=minutes))["requests"]
    assert [(each.x, each.height, each.failed) for each in drawing.columns] == [
        (8, HEIGHT, 2.0),
        (16, HEIGHT / 2, 0.0),
    ]
    assert drawing.words == "at most 1,000 in one of 2 known minutes; in the worst one 0.1% failed"
    assert sparks(None)["kms_calls"].columns == []
