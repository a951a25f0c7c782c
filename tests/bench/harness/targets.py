"""The figures: what is measured against what, the line each must keep and what it should reach.

A figure is a sample, or the ratio of two samples of the same round. Sample names are "<subject>:<figure>" as the
probes print them; F is one bare jump_fcontext, "floor:jump".
"""

from dataclasses import dataclass

F = "floor:jump"
BOOST = "boost"
KIB = 1024
GIB = 1024**3


@dataclass(frozen=True)
class Figure:
    row: int
    what: str
    sample: str
    against: str | None = None  # the value is sample / against
    unit: str = ""
    must: float | None = None  # the line; None where the row draws none
    reach: float | None = None  # what we are after
    exact: bool = False  # must and reach are met by equality, not by staying below
    at_least: bool = False  # ... by staying above
    scale: float = 1.0  # the printed value is multiplied by this

    def keeps(self, value: float, line: float) -> bool:
        if self.exact:
            return abs(value - line) < 0.01
        return value >= line if self.at_least else value <= line


def server_figures(name, reach):
    """Of a server with a thread per connection, under bide run, of the native one's; the floor beside it has no line."""
    figures = []
    for connections in (100, 1000):
        subject = f"{name}-{connections}"
        figures += [Figure(20, f"{name} CPU, {connections:,} connections / native", f"bide:{subject}", f"native:{subject}",
                           must=1.0, reach=reach),
                    Figure(20, "  the floor's / native", f"floor:{subject}", f"native:{subject}")]
    figures.append(Figure(20, "  kernel calls of the floor that differ", f"floor:{name}-differ", must=0, exact=True))
    return figures


FIGURES = [
    # Switching: how close to the bare jump, how far from Boost.Fiber and POSIX threads.
    Figure(1, "yield, 2 fibers", "bide:yield-2", F, "F", must=1.6, reach=1.25),
    Figure(1, "  of Boost.Fiber's", "bide:yield-2", "boost:yield-2", must=1 / 6),
    Figure(2, "yield, 1,000 fibers in a ring", "bide:yield-1000", F, "F", must=2.0, reach=1.5),
    Figure(2, "  of a ring of bare jumps", "bide:yield-1000", "floor:jump-1000"),
    Figure(2, "  of Boost.Fiber's", "bide:yield-1000", "boost:yield-1000"),
    Figure(3, "spawn + join, pooled stack", "bide:spawn-join", F, "F", must=8, reach=5.5),
    Figure(3, "  of Boost.Fiber's, pooled stack", "bide:spawn-join", "boost:spawn-join", must=1 / 6),
    Figure(3, "  of Boost.Fiber's, default stack", "bide:spawn-join", "boost-default:spawn-join"),
    Figure(3, "  of a pthread's", "bide:spawn-join", "pthread:spawn-join", must=1 / 250),
    Figure(3, "  where a second thread has been", "bide-threaded:spawn-join", F, "F"),
    # Memory of parked fibers.
    Figure(4, "parked, guarded, of 100,000: resident", "bide:parked-resident", unit="KiB", must=4.3, reach=4.1,
           scale=1 / KIB),
    Figure(4, "  page tables", "bide:parked-page-tables", unit="B", must=160),
    Figure(4, "  share with a guard", "bide:parked-guarded", must=1, exact=True),
    Figure(4, "  resident, of a bare touched stack", "bide:parked-resident", "floor:parked-resident"),
    Figure(4, "  resident, of Boost.Fiber's", "bide:parked-resident", "boost:parked-resident"),
    Figure(5, "1,000,000 parked, 64 KiB: fibers", "bide:million-64-count", must=1e6, at_least=True),
    Figure(5, "  resident, whole process", "bide:million-64-total", unit="GiB", must=4.4, scale=1 / GIB),
    Figure(5, "  memory maps", "bide:million-64-maps", must=200),
    Figure(5, "  share with a guard", "bide:million-64-guarded", must=1, exact=True),
    Figure(5, "1,000,000 parked, 256 KiB: fibers", "bide:million-256-count", reach=1e6, at_least=True),
    Figure(5, "  resident, whole process", "bide:million-256-total", unit="GiB", reach=4.4, scale=1 / GIB),
    Figure(5, "  memory maps", "bide:million-256-maps", reach=200),
    Figure(5, "  share with a guard", "bide:million-256-guarded", reach=1, exact=True),
    Figure(5, "Boost.Fiber, of 100,000 64 KiB: guarded", "boost:guarded-guarded-count"),
    # Locks, of pthread_mutex's in a process that has had a second thread.
    Figure(6, "uncontended local_mutex / pthread", "bide:lock-local", "pthread:lock", must=0.5),
    Figure(6, "uncontended mutex / pthread", "bide:lock", "pthread:lock", must=1.25, reach=0.8),
    Figure(6, "  of Boost.Fiber's", "bide:lock", "boost:lock"),
    Figure(6, "both in a process of one thread", "bide:lock-alone", "pthread:lock-alone"),
    # Kernel calls.
    Figure(8, "kernel calls of an echo that waits", "bide:calls", must=3, exact=True),
    Figure(8, "  epoll_ctl among them", "bide:calls-epoll_ctl", must=0, exact=True),
    Figure(8, "  with a read timeout", "bide-timeout:calls", must=3, exact=True),
    Figure(8, "  epoll_ctl among them", "bide-timeout:calls-epoll_ctl", must=0, exact=True),
    Figure(8, "  of a bare epoll loop's", "bide:calls", "epoll:calls"),
    Figure(8, "  a request of a batch of 100 / epoll loop", "bide:batch-calls", "epoll:batch-calls", reach=1.02),
    Figure(9, "kernel calls of a ready read or write", "bide:ready-calls", must=1, exact=True),
    Figure(9, "ready read from a socket, on top of raw", "bide:socket-read", unit="ns", must=25, reach=10),
    Figure(9, "  on top of a raw recv", "bide:socket-read-own", unit="ns"),
    Figure(9, "  after a short read", "bide:socket-read-short", unit="ns"),
    Figure(9, "ready write to a socket", "bide:socket-write", unit="ns", must=25, reach=10),
    Figure(9, "  on top of a raw send", "bide:socket-write-own", unit="ns"),
    Figure(9, "ready read from a pipe", "bide:pipe-read", unit="ns", must=25, reach=10),
    Figure(9, "  on top of a raw preadv2", "bide:pipe-read-own", unit="ns"),
    Figure(9, "  after a short read", "bide:pipe-read-short", unit="ns"),
    Figure(9, "ready write to a pipe", "bide:pipe-write", unit="ns", must=25, reach=10),
    Figure(9, "  on top of a raw pwritev2", "bide:pipe-write-own", unit="ns"),
    Figure(10, "read outside any fiber, on top of raw", "bide:outside-read", unit="ns", must=3, reach=1.5),
    Figure(10, "  libc's own, on top of raw", "libc:outside-read", unit="ns"),
    Figure(10, "write outside any fiber", "bide:outside-write", unit="ns", must=3, reach=1.5),
    Figure(10, "read beside a runtime, on top of libc's", "bide:beside-read", unit="ns", must=3, reach=1.5),
    Figure(10, "  libc's own, on top of raw", "libc:beside-read", unit="ns"),
    Figure(10, "write beside a runtime, on top of libc's", "bide:beside-write", unit="ns", must=3, reach=1.5),
    # Server CPU a request, of a bare level-triggered epoll loop's.
    Figure(11, "echo CPU, 100 connections / epoll loop", "bide:echo-100", "epoll:echo-100", must=1.15, reach=1.05),
    Figure(11, "  of libev callbacks", "bide:echo-100", "libev:echo-100"),
    Figure(11, "  of a thread per connection", "bide:echo-100", "threads:echo-100"),
    Figure(11, "echo CPU, 1,000 connections / epoll loop", "bide:echo-1000", "epoll:echo-1000"),
    Figure(11, "  of a thread per connection", "bide:echo-1000", "threads:echo-1000"),
    Figure(11, "echo CPU, 10,000 connections / epoll loop", "bide:echo-10000", "epoll:echo-10000", must=1.15, reach=1.05),
    Figure(11, "  of libev callbacks", "bide:echo-10000", "libev:echo-10000"),
    # Timers.
    Figure(14, "a wait's deadline, 100,000 live timers", "bide:timeout", unit="ns", must=30, reach=15),
    Figure(14, "  as the earliest of them", "bide:timeout-earliest", unit="ns"),
    Figure(14, "  a bare ev_timer's start and stop", "libev:timeout", unit="ns"),
    Figure(14, "  Boost.Fiber's", "boost:timeout", unit="ns"),
    # A program of threads, preloaded, of the same run natively.
    Figure(17, "a kernel call that traps / native", "preloaded:call-bare", "native:call-bare"),
    Figure(17, "  by a patched site of libc", "preloaded:call-libc", "native:call-libc"),
    Figure(17, "  by one, answered without the kernel", "preloaded:call-gettid", "native:call-gettid"),
    Figure(17, "  write and read by their names", "preloaded:call-name", "native:call-name"),
    Figure(17, "pthread create + join / native", "preloaded:create-join", "native:create-join"),
    Figure(17, "hand-off by a condition / native", "preloaded:hand-off-condition", "native:hand-off-condition"),
    Figure(17, "  by semaphores", "preloaded:hand-off-semaphore", "native:hand-off-semaphore"),
    Figure(17, "  by sched_yield", "preloaded:hand-off-yield", "native:hand-off-yield"),
    Figure(18, "preloaded echo CPU, 100 connections / native", "preloaded:echo-100", "threads:echo-100"),
    Figure(18, "  1,000 connections", "preloaded:echo-1000", "threads:echo-1000"),
    Figure(18, "  10,000 connections", "preloaded:echo-10000", "threads:echo-10000"),
    Figure(19, "a linked program's own call that traps / bare", "trapping:call-bare", "linked:call-bare"),
    Figure(19, "  of one that the table answers", "trapping:call-table", "linked:call-table"),
    Figure(19, "  by libc", "trapping:call-libc", "linked:call-libc"),
    *server_figures("microsocks", reach=0.4),
    *server_figures("tinyproxy", reach=0.8),
    *server_figures("civetweb", reach=0.8),
]

ROWS = sorted({figure.row for figure in FIGURES})
