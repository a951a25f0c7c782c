"""The crawler against its site when all is well, and when the site, the disk or the user is not.

usage: crawl_test.py FOLDER   where crawl, crawl-site and crawl-check are
"""
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

BUILT = Path(sys.argv.pop(1)).resolve()
COMMENTS = 3000  # on nine videos
WAYS = [['processes'], ['threads'], ['fibers'], ['fibers', '--workers', '2']]


class Site:
    def __init__(self, *options, latency=2):
        self.options, self.latency = options, latency

    def __enter__(self):
        self.process = subprocess.Popen([BUILT / 'crawl-site', '--comments', str(COMMENTS), '--latency', str(self.latency),
                                         *self.options], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.served = json.loads(self.process.communicate(timeout=10)[0])


class Crawl(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix='crawl-test-')
        self.file = Path(self.folder.name) / 'crawl.db'

    def tearDown(self):
        self.folder.cleanup()

    def words(self, url, by, *options):
        return [BUILT / 'crawl', '--site', url, '--file', self.file, '--concurrency', '16', '--by', *by, *options]

    def crawl(self, url, by, *options):
        """Returns its exit status, its line of JSON, and what it says on stderr."""
        done = subprocess.run(self.words(url, by, *options), capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    def begin(self, url, by, *options):
        return subprocess.Popen(self.words(url, by, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def stored(self):
        with sqlite3.connect(self.file) as file:
            return file.execute('SELECT count(*) FROM comments').fetchone()[0]

    def wait_until_some_are_stored(self):
        for _ in range(500):
            time.sleep(0.01)
            try:
                if self.stored():
                    return
            except sqlite3.Error:
                pass  # not made yet, or being written
        self.fail('nothing is saved in 5 s')

    def check_all_stored(self):
        done = subprocess.run([BUILT / 'crawl-check', self.file, '--comments', str(COMMENTS)], capture_output=True, text=True,
                              timeout=30, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''), done.stdout)

    def in_each_way(self, check):
        for by in WAYS:
            with self.subTest(' '.join(by)):
                check(by)
            for path in Path(self.folder.name).glob('crawl.db*'):
                path.unlink()

    def test_every_comment_is_stored_once(self):
        def check(by):
            status, said, errors = self.crawl(site.url, by)
            self.assertEqual(status, 0, errors)
            self.assertEqual((said['comments'], said['failed'], said['doubles'], said['retries']), (COMMENTS, 0, 0, 0))
            self.check_all_stored()
        with Site() as site:
            self.in_each_way(check)

    def test_a_second_run_has_nothing_to_do(self):
        with Site() as site:
            self.crawl(site.url, ['fibers'])
            status, said, errors = self.crawl(site.url, ['fibers'])
        self.assertEqual((status, said['pages'], said['comments']), (0, 0, 0), errors)
        self.check_all_stored()

    def test_after_an_interrupt_what_came_is_saved_and_the_next_run_goes_on(self):
        def check(by):
            with self.begin(site.url, by) as run:
                self.wait_until_some_are_stored()
                run.send_signal(signal.SIGINT)
                said, errors = run.communicate(timeout=3)
            self.assertEqual(run.returncode, 130, errors)
            first = json.loads(said)
            self.assertTrue(first['interrupted'])
            self.assertEqual(first['comments'], self.stored())
            status, second, errors = self.crawl(site.url, by)
            self.assertEqual(status, 0, errors)
            self.assertEqual(first['comments'] + second['comments'], COMMENTS)
            self.check_all_stored()
        with Site(latency=100) as site:
            self.in_each_way(check)

    def test_a_crawl_that_is_killed_loses_nothing_that_was_saved(self):
        def check(by):
            with self.begin(site.url, by) as run:
                self.wait_until_some_are_stored()
                run.kill()
            saved = self.stored()
            status, said, errors = self.crawl(site.url, by)
            self.assertEqual((status, said['comments']), (0, COMMENTS - saved), errors)
            self.check_all_stored()
        with Site(latency=100) as site:
            self.in_each_way(check)

    def test_what_goes_wrong_now_and_then_is_tried_again(self):
        def check(by):
            status, said, errors = self.crawl(site.url, by, '--attempts', '12')
            self.assertEqual((status, said['failed'], said['doubles']), (0, 0, 0), errors)
            self.assertGreater(said['retries'], 0)
            self.check_all_stored()
        kinds = ['error', 'close', 'garbage', 'truncated', 'other', 'cut']
        with Site(*(word for kind in kinds for word in ('--trouble', f'{kind}=0.03'))) as site:
            self.in_each_way(check)
        self.assertGreater(site.served['troubled'], 0)

    def test_a_site_that_asks_to_wait_is_waited_for(self):
        def check(by):
            status, said, errors = self.crawl(site.url, by)
            self.assertEqual((status, said['failed']), (0, 0), errors)
            self.check_all_stored()
        with Site('--rate-limit', '150') as site:
            self.in_each_way(check)
        self.assertGreater(site.served['limited'], 0)

    def test_a_site_that_is_down_is_named(self):
        with socket.socket() as unused:
            unused.bind(('127.0.0.1', 0))  # and nobody listens
            url = f'http://127.0.0.1:{unused.getsockname()[1]}'
            status, said, errors = self.crawl(url, ['fibers'], '--attempts', '2')
        self.assertEqual((status, said), (2, None))
        self.assertIn(url, errors)
        self.assertIn('connect', errors)

    def test_a_site_that_goes_down_stops_the_crawl_and_the_next_one_goes_on(self):
        def check(by):
            with Site(latency=100) as site:
                port = site.url.rpartition(':')[2]
                with self.begin(site.url, by, '--attempts', '2') as run:
                    self.wait_until_some_are_stored()
                    site.process.terminate()
                    said, errors = run.communicate(timeout=10)
            self.assertEqual(run.returncode, 1, errors)
            self.assertIn('20 pages failed one after the other', errors)
            self.assertIn('goes on from there', errors)
            saved = json.loads(said)['comments']
            self.assertEqual(saved, self.stored())
            with Site('--port', port) as site:
                status, said, errors = self.crawl(site.url, by)
            self.assertEqual((status, said['comments']), (0, COMMENTS - saved), errors)
            self.check_all_stored()
        self.in_each_way(check)

    def check_a_site_of(self, kind, message):
        def check(by):
            status, said, errors = self.crawl(site.url, by, '--attempts', '1', '--timeout', '0.3')
            self.assertEqual((status, said['comments'], self.stored()), (1, 0, 0))
            self.assertIn(message, errors)
            self.assertIn('/comments?page=', errors)
        with Site('--trouble', f'{kind}=1') as site:
            self.in_each_way(check)

    def test_a_site_of_garbage_is_named(self):
        self.check_a_site_of('garbage', 'not JSON')

    def test_truncated_json_is_named(self):
        self.check_a_site_of('truncated', 'not JSON')

    def test_another_page_than_was_asked_for_is_named(self):
        self.check_a_site_of('other', 'another page')

    def test_an_answer_that_is_cut_is_named(self):
        self.check_a_site_of('cut', 'bytes remaining')

    def test_a_site_that_is_too_slow_is_named(self):
        self.check_a_site_of('stall', 'timed out')

    def test_an_interrupt_ends_a_crawl_of_a_site_that_stalls(self):
        def check(by):
            with self.begin(site.url, by, '--timeout', '600') as run:
                time.sleep(0.3)
                run.send_signal(signal.SIGINT)
                run.communicate(timeout=5)
            self.assertEqual(run.returncode, 130)
        with Site('--trouble', 'stall=1') as site:
            self.in_each_way(check)

    def test_a_full_disk_is_named_and_what_was_saved_stays(self):
        # A disk of 300 kB in a mount namespace of its own; what is on it at the end is copied out.
        script = ('mount -t tmpfs -o size=300k none "$1" || exit 99; "${@:3}"; status=$?; cp "$1"/crawl.db* "$2"; '
                  'exit $status')
        inside = ['unshare', '--mount', *([] if os.getuid() == 0 else ['--user', '--map-root-user'])]
        disk, saved = Path(self.folder.name) / 'disk', Path(self.folder.name) / 'crawl.db'
        disk.mkdir()

        def check(by):
            self.file = disk / 'crawl.db'
            done = subprocess.run([*inside, 'bash', '-c', script, 'disk', disk, saved.parent, *self.words(site.url, by)],
                                  capture_output=True, text=True, timeout=30, check=False)
            self.file = saved
            if done.returncode == 99 or 'unshare' in done.stderr:
                self.skipTest('no file system can be mounted here')
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn('cannot save', done.stderr)
            self.assertIn('full', done.stderr)
            self.assertEqual(self.stored(), json.loads(done.stdout)['comments'])
            status, _, errors = self.crawl(site.url, by)
            self.assertEqual(status, 0, errors)
            self.check_all_stored()
        with Site() as site:
            self.in_each_way(check)

    def test_a_file_that_is_no_database_is_left_alone(self):
        self.file.write_text('my diary\n' * 1000)
        with Site() as site:
            status, said, errors = self.crawl(site.url, ['fibers'])
        self.assertEqual((status, said), (2, None))
        self.assertIn('not a database', errors)
        self.assertEqual(self.file.read_text(), 'my diary\n' * 1000)

    def test_the_check_finds_what_is_missing_and_what_is_wrong(self):
        with Site() as site:
            self.crawl(site.url, ['threads'])
        with sqlite3.connect(self.file) as file:
            file.execute('DELETE FROM comments WHERE id = 7')
            file.execute("UPDATE comments SET text = 'me' WHERE id = 8")
        done = subprocess.run([BUILT / 'crawl-check', self.file, '--comments', str(COMMENTS)], capture_output=True, text=True,
                              timeout=30, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn('1 missing, 0 twice, 1 not as the site has them', done.stdout)


if __name__ == '__main__':
    unittest.main(verbosity=2)
