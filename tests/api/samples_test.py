"""The small samples, as somebody would try them who has just built them.

usage: samples_test.py FOLDER_OF_THE_SAMPLES [test...]
"""
import signal
import socket
import subprocess
import sys
import time
import unittest
from pathlib import Path

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
    def echo(self, name, connections=20):
        """Starts it, has many connections at once echo, interrupts it, and returns its exit status."""
        port = free_port()
        server = subprocess.Popen([SAMPLES / name, str(port)], stdout=subprocess.DEVNULL)
        try:
            peers = []
            end = time.monotonic() + 20
            while len(peers) < connections:
                try:
                    peers.append(socket.create_connection(('127.0.0.1', port), timeout=20))
                except ConnectionRefusedError:
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.01)
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
        finally:
            server.kill()
            server.wait()

    def test_the_echo_servers_echo_and_end_when_interrupted(self):
        for name in ('echo', 'c-echo'):
            with self.subTest(name):
                self.assertEqual(self.echo(name)[0], 0)

    def test_the_old_server_serves_its_connections_at_once(self):
        status, took = self.echo('beside', 100)
        self.assertEqual(status, -signal.SIGINT)
        self.assertLess(took, 100 * 0.02 / 2)  # each waits 20 ms before it answers

    def test_the_old_server_is_changed_in_fewer_than_ten_lines(self):
        changed = [line for line in (ROOT / 'samples/beside.cpp').read_text().splitlines() if '// +' in line]
        self.assertLess(0, len(changed))
        self.assertLess(len(changed), 10)


class Programs(unittest.TestCase):
    def test_the_pipelines_print_the_same_primes(self):
        primes = [n for n in range(2, 230) if all(n % d for d in range(2, n))]
        for name in ('pipeline', 'c-pipeline'):
            with self.subTest(name):
                self.assertEqual([int(word) for line in output_of(name).splitlines()[:5] for word in line.split()], primes[:50])

    def test_fibers_run_in_foreign_loops(self):
        self.assertEqual(output_of('stepped').splitlines(),
                         [f'{where}: {i}' for where in ('in a poll loop', 'on libev') for i in (1, 2, 3)])

    def test_asyncios_habits(self):
        said = output_of('asyncio')
        self.assertTrue(said.startswith('page 1 and page 2 together\n'), said)
        for page in range(1, 10):
            self.assertEqual(said.count(f'page {page},'), 1, said)


if __name__ == '__main__':
    SAMPLES = Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
