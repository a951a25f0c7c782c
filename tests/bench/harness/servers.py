"""Row 20: servers of Debian's with a thread for each connection, unmodified, and the floor under each of them."""

import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from subjects import CLIENT_CPU, SERVER_CPU, Failed, LeftOut, count_calls, run

# What a thread waits by, and the floor for all of them; the rest of their kernel calls must be the same.
WAITS = {"poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait"}
MOST_KERNEL_THREADS = 3  # under bide run; more are the program's own


@dataclass(frozen=True)
class Server:
    """How a server is started and reached. It has a folder of its own, and the pages to serve in `pages` there."""

    argv: Callable  # of the folder, a port and how many connections there will be
    floor: Callable  # of the folder
    proxy: str | None = None  # what it speaks with its clients, if it passes on what nginx serves


def microsocks(_folder, port, _connections):
    return ["microsocks", "-i", "127.0.0.1", "-p", port]


def tinyproxy(folder, port, connections):
    settings = folder / "tinyproxy.conf"
    settings.write_text(f"Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nMaxClients {connections + 16}\nLogLevel Error\n")
    return ["tinyproxy", "-d", "-c", settings]


def civetweb(folder, port, connections):
    # Its threads are started beforehand, and each stays with a connection.
    return ["civetweb", "-listening_ports", f"127.0.0.1:{port}", "-document_root", folder / "pages", "-num_threads",
            connections + 16, "-connection_queue", connections + 16, "-listen_backlog", connections + 16,
            "-enable_keep_alive", "yes", "-keep_alive_timeout_ms", 30000]


def nginx(folder, port, connections):
    # It closes idle connections when it has few left: one in sixteen.
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    settings = folder / "nginx.conf"
    settings.write_text(f"""
        daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
        events {{ worker_connections {connections + connections // 4 + 100}; }}
        http {{ access_log off; keepalive_requests 1000000; {temporary}
                server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}/pages; }} }}""")
    return ["nginx", "-c", settings, "-p", folder, "-e", folder / "nginx.log"]


SERVERS = {
    "microsocks": Server(microsocks, lambda _folder: ["bench_floor_relay", "microsocks"], "socks5"),
    "tinyproxy": Server(tinyproxy, lambda _folder: ["bench_floor_relay", "tinyproxy"], "http"),
    "civetweb": Server(civetweb, lambda folder: ["bench_floor_files", folder / "pages"]),
}
PACKAGES = {"nginx": "nginx-light"}  # where it has another name than the program


def find(program):
    """Returns where the program is. Errors: LeftOut if it is not installed."""
    where = shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")
    if not where:
        raise LeftOut(f"{program} is not installed (Debian's package {PACKAGES.get(program, program)})")
    return where


def make_pages(folder):
    folder.mkdir()
    for name in (f"page-{i}" for i in range(8)):
        (folder / name).write_bytes(random.Random(name).randbytes(1024))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def prepare(cpus):
    os.sched_setaffinity(0, cpus)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # a proxy has two for each connection
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def wait_for(process, port, name):
    for _ in range(500):
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.02)
    raise Failed(f"{name} does not listen")


@contextmanager
def started(argv, port, cpus):
    """A server that listens on the port, until the block is left."""
    with subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, preexec_fn=lambda: prepare(cpus)) as process:
        try:
            wait_for(process, port, Path(argv[0]).name)
            yield process
        finally:
            process.kill()


@dataclass(frozen=True)
class Site:
    """A folder with pages, and for a proxy the nginx that serves them, on the client's CPU."""

    folder: Path
    origin: int | None  # nginx's port


@contextmanager
def site_for(server, connections):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pages(folder / "pages")
        if not server.proxy:
            yield Site(folder, None)
            return
        port = free_port()
        program, *words = nginx(folder, port, connections)
        with started([find(program), *words], port, CLIENT_CPU):
            yield Site(folder, port)


def command(directory, name, how, site, port, connections):
    """How the server is started, natively or under bide run, or its floor. Without it, the floor says nothing either."""
    server = SERVERS[name]
    program, *words = server.argv(site.folder, port, connections)
    native = [find(program), *words]
    if how == "native":
        return native
    if how == "bide":
        return [directory.parents[1] / "lib" / "bide", "run", "--", *native]
    program, *words = server.floor(site.folder)
    return [directory / program, *words, "--port", port]


def load(directory, server, site, port, pid, *words):
    """Has many connections ask for the pages. Returns what the client prints. Errors: Failed, for a wrong answer too."""
    way = ["--origin", f"127.0.0.1:{site.origin or port}"]
    if server.proxy:
        way += ["--proxy", f"127.0.0.1:{port}", "--proxy-speaks", server.proxy]
    client = directory.parents[1] / "samples" / "serve-load"
    return json.loads(run([client, "--with", "bench", "--pid", pid, "--folder", site.folder / "pages", *way, *words]))


@dataclass(frozen=True)
class ServerLoad:
    """A server's CPU time a request, with a request out on every connection all the time."""

    server: str
    how: str  # "native", "bide", "floor"
    connections: int
    seconds: float
    warm_up: float
    rows: frozenset = frozenset({20})

    def measure(self, directory):
        server = SERVERS[self.server]
        with site_for(server, self.connections) as site:
            port = free_port()
            with started(command(directory, self.server, self.how, site, port, self.connections), port,
                         SERVER_CPU) as process:
                seen = load(directory, server, site, port, process.pid, "--connections", self.connections,
                            "--warm-up", self.warm_up, "--seconds", self.seconds)
        if self.how == "bide" and seen["kernel_threads"] > MOST_KERNEL_THREADS:
            raise Failed(f"{self.server} under bide run: {seen['kernel_threads']} kernel threads, so it isn't served")
        if seen["requests"] < self.connections:
            raise Failed(f"{self.server} ({self.how}): {seen['requests']} answers to {self.connections} connections are too few"
                         " to tell a cost")
        key = f"{self.how}:{self.server}-{self.connections}"
        figures = ("requests_per_second", "kernel_threads", "memory_mib", "p99_ms")
        return {key: seen["cpu_us_per_request"]} | {f"{key}-{name}": seen[name] for name in figures}


@dataclass(frozen=True)
class ServerCalls:
    """Kernel calls of a server for a request, but for its waits, natively and by its floor: they must be the same."""

    server: str
    rows: frozenset = frozenset({20})

    def measure(self, directory):
        with site_for(SERVERS[self.server], 1) as site:
            native, floor = (self.count(directory, how, site) for how in ("native", "floor"))
        samples = {f"floor:{self.server}-differ": sum(abs(native[name] - floor[name]) for name in {*native, *floor})}
        for how, calls in (("native", native), ("floor", floor)):
            samples |= {f"{how}:{self.server}-calls-{name}": times for name, times in calls.items()}
        return samples

    def count(self, directory, how, site):
        """By name, those that are made once or more for each request of one connection."""
        port = free_port()
        requests = 0

        def drive(strace):
            nonlocal requests
            try:
                wait_for(strace, port, self.server)
                seen = load(directory, SERVERS[self.server], site, port, strace.pid, "--connections", 1, "--seconds", 0.5)
                requests = seen["requests"]
            finally:
                if strace.poll() is None:
                    for pid in Path(f"/proc/{strace.pid}/task/{strace.pid}/children").read_text().split():
                        os.kill(int(pid), signal.SIGKILL)  # strace then ends as it has

        argv = command(directory, self.server, how, site, port, 1)
        calls = count_calls(directory, argv, drive, end=-signal.SIGKILL)
        return +Counter({name: round(times / requests) for name, times in calls.items() if name not in WAITS})
