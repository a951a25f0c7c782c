"""Which subjects are measured together, alternating, and how often."""

from dataclasses import dataclass

from servers import SERVERS, ServerCalls, ServerLoad
from subjects import Echo, EchoCalls, Probe, ReadyCalls


@dataclass(frozen=True)
class Suite:
    """Subjects whose samples are compared with each other: every round measures each of them once."""

    name: str
    rounds: int
    quick_rounds: int
    subjects: tuple
    heavy: bool = False  # left out of a quick run

    @property
    def rows(self):
        return frozenset().union(*(subject.rows for subject in self.subjects))


def probes(rows, program, *names):
    return tuple(Probe(frozenset(rows), program, name) for name in names)


def echoes(connections, seconds, warm_up, *servers):
    return tuple(Echo(server, connections, seconds, warm_up) for server in servers)


def natively_and_preloaded(name):
    return tuple(Probe(frozenset({17}), "bench_preloaded", name, preloaded) for preloaded in (False, True))


def thread_echoes(connections, seconds, warm_up):
    return tuple(Echo("threads", connections, seconds, warm_up, frozenset({18}), preloaded) for preloaded in (False, True))


def server_loads(name, connections, seconds, warm_up):
    return tuple(ServerLoad(name, how, connections, seconds, warm_up) for how in ("native", "bide", "floor"))


SUITES = [
    Suite("switching", 11, 3, (
        *probes({1, 2, 3}, "bench_floor", "jump"),
        *probes({1}, "bench_bide", "yield-2"),
        *probes({1}, "bench_boost", "yield-2"),
        *probes({2}, "bench_bide", "yield-1000"),
        *probes({2}, "bench_floor", "jump-1000"),
        *probes({2}, "bench_boost", "yield-1000"),
        *probes({3}, "bench_bide", "spawn-join", "spawn-join-threaded"),
        *probes({3}, "bench_boost", "spawn-join", "spawn-join-default"),
        *probes({3}, "bench_floor", "spawn-join"),
    )),
    Suite("parked fibers", 7, 1, (
        *probes({4}, "bench_bide", "parked"),
        *probes({4}, "bench_floor", "parked"),
        *probes({4}, "bench_boost", "parked"),
    )),
    # Counts and memory, not times; one round of it touches 8 GiB.
    Suite("a million fibers", 1, 1, (
        *probes({5}, "bench_bide", "million-64", "million-256"),
        *probes({5}, "bench_boost", "guarded"),
    ), heavy=True),
    Suite("locks", 11, 3, (
        *probes({6}, "bench_bide", "lock"),
        *probes({6}, "bench_floor", "lock"),
        *probes({6}, "bench_boost", "lock"),
    )),
    # Counts repeat exactly, but for a stray one.
    Suite("kernel calls of an echo", 3, 1, (
        EchoCalls("bide", "bide"),
        EchoCalls("epoll", "epoll"),
        EchoCalls("bide", "bide-timeout", options=("--read-timeout", 30)),
        EchoCalls("bide", "bide", batch=True),
        EchoCalls("epoll", "epoll", batch=True),
    )),
    Suite("ready reads and writes", 11, 3, (
        ReadyCalls(),
        *probes({9}, "bench_door_ready", "socket", "pipe"),
    )),
    Suite("doors outside fibers", 15, 3, (
        *probes({10}, "bench_door_outside", "plain", "beside"),
    )),
    Suite("echo, 100 connections", 21, 3, echoes(100, 0.4, 0.15, "epoll", "bide", "libev", "threads")),
    Suite("echo, 1,000 connections", 7, 1, echoes(1000, 0.8, 0.3, "epoll", "bide", "threads"), heavy=True),
    Suite("echo, 10,000 connections", 11, 2, echoes(10000, 1.2, 0.5, "epoll", "bide", "libev")),
    Suite("timers", 7, 3, (
        *probes({14}, "bench_bide", "timeout"),
        *probes({14}, "bench_floor", "timeout"),
        *probes({14}, "bench_boost", "timeout"),
    )),
    Suite("a preloaded program's threads", 7, 2, (
        *natively_and_preloaded("calls"),
        *natively_and_preloaded("create-join"),
        *natively_and_preloaded("condition"),
        *natively_and_preloaded("semaphore"),
        *natively_and_preloaded("yield"),
    )),
    Suite("a linked program's calls past libc's names", 7, 2, (
        *probes({19}, "bench_trapped", "linked", "trapping"),
    )),
    Suite("a preloaded echo, 100 connections", 7, 2, thread_echoes(100, 1.0, 0.3)),
    Suite("a preloaded echo, 1,000 connections", 7, 1, thread_echoes(1000, 1.0, 0.5)),
    Suite("a preloaded echo, 10,000 connections", 3, 1, thread_echoes(10000, 2.0, 2.0), heavy=True),
    *(Suite(f"{name}, 100 connections", 5, 1, server_loads(name, 100, 0.6, 0.2)) for name in SERVERS),
    *(Suite(f"{name}, 1,000 connections", 3, 1, server_loads(name, 1000, 0.9, 0.3), heavy=True) for name in SERVERS),
    Suite("kernel calls of servers", 1, 1, tuple(ServerCalls(name) for name in SERVERS), heavy=True),
]
