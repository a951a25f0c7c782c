"""Two servers of Debian's answer preloaded as natively, on a few kernel threads, and end as natively.

usage: servers_test.py LIBRARY
"""
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import servers

LIBRARY = str(Path(sys.argv.pop()).resolve())
CLIENTS, VISITS = 16, 300
MOST_KERNEL_THREADS = 2  # beyond the workers' own: the monitor's, and one that waits in the kernel or is spare


class Servers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix='servers')
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.folder.chmod(0o755)
        (cls.folder / 'files').mkdir()
        cls.files = servers.make_files(cls.folder / 'files')
        cls.nginx = servers.start_nginx(cls.folder)
        cls.addClassCleanup(cls.nginx.end)

    def visit_all(self, start, through=None):
        """Natively, and preloaded with one and with two workers: every answer is right, and the end is the same."""
        ends = []
        for library, workers in ((None, 1), (LIBRARY, 1), (LIBRARY, 2)):
            server = start(self.folder, library, workers)
            try:
                with ThreadPoolExecutor(CLIENTS) as clients:
                    visits = [clients.submit(servers.visit, server.port, self.files, through) for _ in range(VISITS)]
                    errors = [str(v.exception()) for v in visits if v.exception()]
                threads = server.numbers()['threads']
            finally:
                ends.append(server.end())
            self.assertEqual(errors, [])
            if library:
                self.assertLessEqual(threads, MOST_KERNEL_THREADS + workers)
        self.assertEqual(ends, ends[:1] * 3)

    def test_microsocks(self):
        self.visit_all(servers.start_microsocks, through=self.nginx.port)

    def test_http_server(self):
        self.visit_all(servers.start_http_server)


if __name__ == '__main__':
    unittest.main(verbosity=2)
