"""CPU time and memory of groups of processes, from /proc."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import psutil

_SAMPLE_SECONDS = 0.5
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a group: proportional (shared pages divided by their users) and resident (counted by each)."""

    pss: int
    rss: int

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.pss + other.pss, self.rss + other.rss)

    def mib(self) -> dict[str, float]:
        """In MiB, for people."""
        return {"pss_mib": round(self.pss / _MIB, 1), "rss_mib": round(self.rss / _MIB, 1)}


def tree(pid: int) -> list[psutil.Process]:
    """A process and its living descendants."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> float:
    """CPU seconds that a tree has used, including members that have ended."""
    total = 0.0
    for process in tree(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(process: psutil.Process) -> Memory:
    """The memory of one process now; zero once it has ended."""
    try:
        info = process.memory_full_info()
    except psutil.Error:
        return Memory(0, 0)
    return Memory(info.pss, info.rss)


@dataclass
class Watch:
    """What each group used while `watching`: CPU seconds, and peak memory."""

    groups: Mapping[str, int]
    cpu: dict[str, float] = field(default_factory=dict)
    peak: dict[str, Memory] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Iterator[Self]:
        """Watch for as long as the block runs."""
        before = {name: cpu_seconds(pid) for name, pid in self.groups.items()}
        thread = threading.Thread(target=self._sample)
        thread.start()
        try:
            yield self
            # Before the processes end: then nothing can be read of them.
            self.cpu = {name: cpu_seconds(pid) - before[name] for name, pid in self.groups.items()}
        finally:
            self._stop.set()
            thread.join()

    def _sample(self) -> None:
        while True:
            for name, pid in self.groups.items():
                now = sum((memory(process) for process in tree(pid)), Memory(0, 0))
                self.peak[name] = max(self.peak.get(name, now), now, key=lambda seen: seen.pss)
            if self._stop.wait(_SAMPLE_SECONDS):
                return
