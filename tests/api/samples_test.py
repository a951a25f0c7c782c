"""The small samples, as somebody would try them who has just built them.

usage: samples_test.py FOLDER_OF_THE_SAMPLES [test...]
"""
import contextlib
import difflib
import signal
import socket
import subprocess
import sys
import time
import unittest
from pathlib import Path

EMBEDDINGS = ('threads', 'poll', 'ev')  # a server's thread for each connection, its own loop, its loop by libev
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SAMPLES = Path()


def output_of(name):
    return subprocess.run([SAMPLES / name], capture_output=True, text=True, timeout=30, check=True).stdout


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Servers(unittest.TestCase):
    @contextlib.contextmanager
    def running(self, name):
        """Gives the server's process, and a function that connects to it."""
        port = free_port()
        server = subprocess.Popen([SAMPLES / name, str(port)], stdout=subprocess.DEVNULL)

        def connect(patience=time.monotonic() + 20):
            while True:
                try:
                    return socket.create_connection(('127.0.0.1', port), timeout=20)
                except ConnectionRefusedError:
                    self.assertLess(time.monotonic(), patience)
                    time.sleep(0.01)
        try:
            yield server, connect
        finally:
            server.kill()
            server.wait()

    def echo(self, name, connections=20):
        """Has many connections at once echo, interrupts it, and returns its exit status, and how long the echoes took."""
        with self.running(name) as (server, connect):
            peers = [connect() for _ in range(connections)]
            began = time.monotonic()
            for number, peer in enumerate(peers):
                peer.sendall(b'line %d' % number)
            for number, peer in enumerate(peers):
                self.assertEqual(peer.recv(64), b'line %d' % number)
            took = time.monotonic() - began
            for peer in peers:
                peer.close()
            server.send_signal(signal.SIGINT)
            return server.wait(timeout=20), took

    def holds_up_others(self, name):
        with self.running(name) as (_, connect), connect() as first:
            first.sendall(b'one')
            self.assertEqual(first.recv(64), b'one')
            with connect() as second:
                second.sendall(b'two')
                second.settimeout(0.3)
                try:
                    return second.recv(64) != b'two'
                except TimeoutError:
                    return True

    def test_the_echo_servers_echo_and_end_when_interrupted(self):
        for name in ('echo', 'c-echo'):
            with self.subTest(name):
                self.assertEqual(self.echo(name)[0], 0)

    def test_an_old_server_that_is_given_fibers_serves_its_connections_at_once(self):
        for name in EMBEDDINGS:
            with self.subTest(name):
                status, took = self.echo(f'embed-{name}-and-fibers', 100)
                self.assertEqual(status, -signal.SIGINT)
                self.assertLess(took, 100 * 0.02 / 2)  # each waits 20 ms before it answers

    def test_and_before_it_did_not_but_by_threads(self):
        self.assertEqual(self.echo('embed-threads', 100)[0], -signal.SIGINT)
        for name in EMBEDDINGS[1:]:
            with self.subTest(name):
                # The first to be served holds up the others until it hangs up.
                self.assertTrue(self.holds_up_others(f'embed-{name}'))
                self.assertFalse(self.holds_up_others(f'embed-{name}-and-fibers'))

    def test_fewer_than_ten_lines_give_an_old_server_fibers(self):
        for name in EMBEDDINGS:
            with self.subTest(name):
                before, after = ((ROOT / 'samples/embed' / f'{name}{rest}.cpp').read_text().splitlines()
                                 for rest in ('', '_and_fibers'))
                differ = [line for line in difflib.ndiff(before, after) if line[0] in '+-' and not line[2:].startswith('//')]
                self.assertLess(0, len(differ))
                self.assertLess(len(differ), 10, differ)  # what goes and what comes, each for itself


class Programs(unittest.TestCase):
    def test_the_pipelines_print_the_same_primes(self):
        primes = [n for n in range(2, 230) if all(n % d for d in range(2, n))]
        for name in ('pipeline', 'c-pipeline'):
            with self.subTest(name):
                self.assertEqual([int(word) for line in output_of(name).splitlines()[:5] for word in line.split()], primes[:50])

    def test_asyncios_habits(self):
        said = output_of('asyncio')
        self.assertTrue(said.startswith('page 1 and page 2 together\n'), said)
        for page in range(1, 10):
            self.assertEqual(said.count(f'page {page},'), 1, said)


if __name__ == '__main__':
    SAMPLES = Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
