"""What can be measured once: a probe program, a count of kernel calls, a server under load. Each gives samples."""

import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

# A server has one CPU and its client another, so that a round does not depend on where the scheduler puts them.
CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPU, CLIENT_CPU = {CPUS[0]}, {CPUS[-1]}


class Failed(Exception):
    """A program of the benchmark ended badly; the text says which and how."""


class LeftOut(Exception):
    """Something can't be measured on this machine; the text says what is missing."""


def preloading(directory):
    """The environment of a program whose threads are to be fibers."""
    return os.environ | {"LD_PRELOAD": str(directory.parents[1] / "lib" / "libbide-preload.so")}


def run(argv, cpus=CLIENT_CPU, timeout=120, environment=None):
    """Runs a program to its end on the given CPUs. Returns its output."""
    try:
        done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=timeout, env=environment,
                              preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    except subprocess.TimeoutExpired as e:
        raise Failed(f"{Path(argv[0]).name}: no end within {timeout} s") from e
    except OSError as e:
        raise Failed(str(e)) from e
    if done.returncode != 0:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        words = " ".join(str(word) for word in argv[1:])
        raise Failed(f"{Path(argv[0]).name} {words}: {how}: {done.stderr.strip()[-300:]}")
    return done.stdout


def read_samples(text):
    """Reads lines of "<name> <value>"."""
    samples = {}
    for line in text.splitlines():
        name, value = line.rsplit(maxsplit=1)
        samples[name] = float(value)
    return samples


def count_calls(directory, argv, during=lambda process: None, end=0):
    """Counts the kernel calls of a program by name. `during` gets strace's process and drives the program to its end."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as counts, tempfile.TemporaryFile("w+") as said:
        strace = ["strace", "-f", "-c", "-S", "calls", "-U", "calls,name", "-o", counts.name]
        words = [str(word) for word in [directory / argv[0], *argv[1:]]]
        with subprocess.Popen(strace + words, stdout=subprocess.PIPE, stderr=said, text=True,
                              preexec_fn=lambda: os.sched_setaffinity(0, SERVER_CPU)) as process:
            try:
                during(process)
                if process.wait(timeout=60) != end:
                    raise Failed(f"status {process.returncode}")
            except (Failed, subprocess.TimeoutExpired) as e:
                said.seek(0)
                raise Failed(f"{argv[0]} under strace: {e}: {said.read().strip()[-300:]}") from e
            finally:
                if process.poll() is None:
                    process.kill()
        calls = {}
        for line in counts.read().splitlines():
            words = line.split()
            if len(words) == 2 and words[0].isdigit() and words[1] != "total":
                calls[words[1]] = int(words[0])
        return calls


def difference(less, more, times):
    """What one of `times` more repetitions takes, by call: the start and the end of the program cancel out."""
    names = sorted(set(less) | set(more))
    each = {name: (more.get(name, 0) - less.get(name, 0)) / times for name in names}
    return {name: value for name, value in each.items() if value}


@dataclass(frozen=True)
class Probe:
    """A program that reports samples itself."""

    rows: frozenset
    program: str
    name: str
    preloaded: bool = False

    def measure(self, directory):
        environment = preloading(directory) if self.preloaded else None
        return read_samples(run([directory / self.program, self.name], environment=environment))


@dataclass(frozen=True)
class ReadyCalls:
    """Kernel calls of a read or write that finds data ready."""

    rows: frozenset = frozenset({9})
    name: str = "strace"

    def measure(self, directory):
        less, more = (count_calls(directory, ["bench_door_ready", f"count-{times}"]) for times in (500, 1000))
        # 500 more reads and 500 more writes, on a socket and on a pipe.
        calls = difference(less, more, 4 * 500)
        return {"bide:ready-calls": sum(calls.values())} | {f"bide:ready-calls-{n}": v for n, v in calls.items()}


@dataclass(frozen=True)
class EchoCalls:
    """Kernel calls of an echo request whose server is at rest when it comes."""

    server: str
    subject: str
    rows: frozenset = frozenset({8})
    options: tuple = ()
    batch: bool = False

    name = property(lambda self: f"strace, {'batch' if self.batch else 'one connection'}")

    def measure(self, directory):
        connections, steps = (100, 20) if self.batch else (1, 150)
        less, more = (self.count(directory, connections, times) for times in (steps, 2 * steps))
        calls = difference(less, more, connections * steps)
        figure = "batch-calls" if self.batch else "calls"
        samples = {f"{self.subject}:{figure}": sum(calls.values()), f"{self.subject}:{figure}-epoll_ctl": 0.0}
        return samples | {f"{self.subject}:{figure}-{n}": v for n, v in calls.items()}

    def count(self, directory, connections, steps):
        def drive(process):
            port = process.stdout.readline().split()[-1]
            run([directory / "bench_echo_load", "--port", port, "--connections", connections, "--steps", steps,
                 "--pause-us", 20000 if self.batch else 2000])

        argv = [f"bench_echo_{self.server}", "--connections", connections, *self.options]
        return count_calls(directory, argv, drive)


@dataclass(frozen=True)
class Echo:
    """A server's CPU time an echo request, with a request out on every connection all the time."""

    server: str
    connections: int
    seconds: float
    warm_up: float
    rows: frozenset = frozenset({11})
    preloaded: bool = False

    name = property(lambda self: f"{self.connections} connections")

    def measure(self, directory):
        program = directory / f"bench_echo_{self.server}"
        environment = preloading(directory) if self.preloaded else None
        with subprocess.Popen([program], stdout=subprocess.PIPE, text=True, env=environment,
                              preexec_fn=lambda: os.sched_setaffinity(0, SERVER_CPU)) as process:
            try:
                port = process.stdout.readline().split()
                if not port:
                    raise Failed(f"{program.name} did not start")
                seen = read_samples(run([directory / "bench_echo_load", "--port", port[-1], "--connections",
                                         self.connections, "--seconds", self.seconds, "--warm-up", self.warm_up,
                                         "--server", process.pid]))
            finally:
                process.send_signal(signal.SIGKILL)
        key = f"{'preloaded' if self.preloaded else self.server}:echo-{self.connections}"
        samples = {key: seen.pop("server_ns_per_request")}
        return samples | {f"{key}-{name}": value for name, value in seen.items()}
