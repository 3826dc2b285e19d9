"""The circuit breaker as a table of scenarios: what happens, and the state that follows."""

import pytest

from kms_service.kms.keys.circuit import Circuit, CircuitState, Fault, Permit

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

# A step is an event and the state after it. `ok`, `key`, `timeout`, `error` and `unknown` are whole calls;
# `start` begins a call that `end-…` ends; `refused` asks and must get no permit; a number is seconds passing.
SCENARIOS: dict[str, list[tuple[str | float, CircuitState]]] = {
    "calls that go well leave it closed": [("ok", CLOSED), ("ok", CLOSED)],
    "one key fault opens": [("key", OPEN), ("refused", OPEN)],
    "three time-outs in a row open": [("timeout", CLOSED), ("timeout", CLOSED), ("timeout", OPEN)],
    "five errors in a row open": [*[("error", CLOSED)] * 4, ("error", OPEN)],
    "a success in between starts the count again": [
        *[("error", CLOSED)] * 4,
        ("ok", CLOSED),
        *[("error", CLOSED)] * 4,
        ("error", OPEN),
    ],
    "time-outs and errors add up": [("timeout", CLOSED), ("timeout", CLOSED), ("error", OPEN)],
    "throttling never opens": [("unknown", CLOSED)] * 20,
    "throttling between errors does not start the count again": [
        *[("error", CLOSED)] * 4,
        ("unknown", CLOSED),
        ("error", OPEN),
    ],
    "it stays open for the pause": [("key", OPEN), (1.9, OPEN), ("refused", OPEN), (0.2, HALF_OPEN)],
    "a trial that goes well closes": [("key", OPEN), (2.0, HALF_OPEN), ("ok", CLOSED), ("ok", CLOSED)],
    "a trial that fails opens again, for twice as long": [
        ("key", OPEN),
        (2.0, HALF_OPEN),
        ("error", OPEN),
        (3.9, OPEN),
        (0.2, HALF_OPEN),
    ],
    "the pause grows to ten seconds and no further": [
        ("key", OPEN),
        (2.0, HALF_OPEN),
        ("key", OPEN),
        (4.0, HALF_OPEN),
        ("key", OPEN),
        (8.0, HALF_OPEN),
        ("key", OPEN),
        (9.9, OPEN),
        (0.2, HALF_OPEN),
        ("key", OPEN),
        (9.9, OPEN),
        (0.2, HALF_OPEN),
    ],
    "after a heal the pause is short again": [
        ("key", OPEN),
        (2.0, HALF_OPEN),
        ("key", OPEN),
        (4.0, HALF_OPEN),
        ("ok", CLOSED),
        ("key", OPEN),
        (2.0, HALF_OPEN),
    ],
    "one trial at a time": [
        ("key", OPEN),
        (2.0, HALF_OPEN),
        ("start", HALF_OPEN),
        ("refused", HALF_OPEN),
        ("end-ok", CLOSED),
    ],
    "a throttled trial leaves the next call to be the trial": [
        ("key", OPEN),
        (2.0, HALF_OPEN),
        ("unknown", HALF_OPEN),
        ("ok", CLOSED),
    ],
    "a late success from before does not close": [("start", CLOSED), ("key", OPEN), ("end-ok", OPEN)],
    "a late failure from before does not count in the trial": [
        ("start", CLOSED),
        ("key", OPEN),
        (2.0, HALF_OPEN),
        ("end-timeout", HALF_OPEN),
        ("ok", CLOSED),
    ],
    "a late failure from before does not open a healed circuit": [
        ("start", CLOSED),
        ("key", OPEN),
        (2.0, HALF_OPEN),
        ("ok", CLOSED),
        ("end-key", CLOSED),
    ],
    "DescribeKey closes on probation": [("key", OPEN), ("vouch", CLOSED), ("error", OPEN)],
    "a success ends the probation": [("key", OPEN), ("vouch", CLOSED), ("ok", CLOSED), ("error", CLOSED)],
    "DescribeKey says nothing new of a closed circuit": [("vouch", CLOSED), ("error", CLOSED)],
}


class _Run:
    """One circuit, its clock, and a call under way."""

    def __init__(self) -> None:
        self.now = 100.0
        self.circuit = Circuit(lambda: self.now)
        self.under_way: Permit | None = None

    def step(self, event: str | float) -> None:
        if isinstance(event, float):
            self.now += event
        elif event == "start":
            self.under_way = self.permit()
        elif event == "vouch":
            self.circuit.vouch()
        elif event == "refused":
            assert self.circuit.permit() is None
        elif event.startswith("end-"):
            assert self.under_way is not None
            self.end(event.removeprefix("end-"), self.under_way)
        else:
            self.end(event, self.permit())

    def permit(self) -> Permit:
        permit = self.circuit.permit()
        assert permit is not None
        return permit

    def end(self, outcome: str, permit: Permit) -> None:
        if outcome == "ok":
            self.circuit.record_success(permit)
        elif outcome == "unknown":
            self.circuit.record_unanswered(permit)
        else:
            self.circuit.record_failure(permit, Fault(outcome), "scripted")


@pytest.mark.invariant(6)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_circuit_goes_through_the_states_of_the_scenario(name: str) -> None:
    run = _Run()
    for number, (event, state) in enumerate(SCENARIOS[name], 1):
        run.step(event)
        assert run.circuit.state is state, f"after step {number}, {event}"


def test_an_open_circuit_says_why() -> None:
    run = _Run()
    run.step("key")
    assert (run.circuit.fault, run.circuit.reason, run.circuit.opened_at) == (Fault.KEY, "scripted", 100.0)
