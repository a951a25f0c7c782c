"""Libraries that wrap the calls of unmodified programs, loaded by bide run --with.

usage: plugins_test.py BUILD_FOLDER [test...]
"""
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

BUILD = Path()

TWO_READERS = '''
import os, threading, time
ends = [os.pipe() for _ in range(2)]
readers = [threading.Thread(target=os.read, args=(e[0], 1)) for e in ends]
for r in readers: r.start()
time.sleep(0.05); os.write(ends[0][1], b"1")
time.sleep(0.10); os.write(ends[1][1], b"1")
for r in readers: r.join()
print("done")
'''


# Each of them waits 60 ms.
WAITS = '''
import fcntl, os, select, socket, tempfile, threading, time
def later(what):
    t = threading.Timer(0.06, what); t.start(); return t
a, b = socket.socketpair()
later(lambda: b.send(b"x")); a.recv(1)
l = socket.socket(); l.bind(("127.0.0.1", 0)); l.listen()
c = socket.socket(); t = later(lambda: c.connect(l.getsockname())); d = l.accept()[0]; t.join()
f = tempfile.NamedTemporaryFile(dir="/tmp"); g = open(f.name)
fcntl.flock(f, fcntl.LOCK_EX); later(lambda: fcntl.flock(f, fcntl.LOCK_UN)); fcntl.flock(g, fcntl.LOCK_EX)
e = select.epoll(); e.register(a, select.EPOLLIN); e.poll(0.06)
select.select([], [], [], 0.06)
p = select.poll(); p.register(a, select.POLLIN); p.poll(60)
time.sleep(0.06)
child = os.posix_spawn("/bin/sleep", ["sleep", "0.06"], {}); os.waitpid(child, 0)
print("done")
'''


def run(plugins, *command, env=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(('BIDE_', 'LD_PRELOAD', 'FAULTS', 'TRACE'))}
    options = [f'--with={BUILD}/samples/lib{name}.so' for name in plugins]
    return subprocess.run([f'{BUILD}/lib/bide', 'run', *options, '--', *command], env=clean | (env or {}),
                          capture_output=True, text=True, timeout=60, check=False)


class Plugins(unittest.TestCase):
    def test_the_trace_tells_which_thread_waited_how_long_on_what(self):
        done = run(['trace'], sys.executable, '-c', TWO_READERS, env={'TRACE_MS': '20'})
        self.assertEqual((done.returncode, done.stdout), (0, 'done\n'))
        waits = re.findall(r'trace: thread (\d+) waited ([\d.]+) ms in read\(pipe:\[\d+\]\) = 1\n', done.stderr)
        self.assertEqual(len(waits), 2, done.stderr)
        self.assertNotEqual(waits[0][0], waits[1][0])
        self.assertGreaterEqual(float(waits[0][1]), 40)
        self.assertGreaterEqual(float(waits[1][1]), 120)
        self.assertRegex(done.stderr, r'trace: read: \d+ calls, ')

    def test_the_trace_names_a_file_where_the_first_word_is_one(self):
        # For select it is a count, which is a descriptor's number as well; for the others a time, an address, a process.
        done = run(['trace'], sys.executable, '-c', WAITS, env={'TRACE_MS': '20'})
        self.assertEqual((done.returncode, done.stdout), (0, 'done\n'), done.stderr)
        waits = re.findall(r'trace: thread \d+ waited [\d.]+ ms in (\w+)\((.*)\) = ', done.stderr)
        named = {call: re.sub(r'\d+', 'N', file) for call, file in waits}
        wanted = {'recvfrom': 'socket:[N]', 'accept4': 'socket:[N]', 'flock': '/tmp/', 'epoll_wait': 'anon_inode:[eventpoll]',
                  'select': '', 'poll': '', 'clock_nanosleep': '', 'wait4': ''}
        named['flock'] = named.get('flock', '')[:5]
        self.assertEqual({call: named.get(call) for call in wanted}, wanted, done.stderr)

    def test_a_program_copes_with_short_counts_and_interruptions(self):
        done = run(['faults'], '/bin/cat', __file__, env={'FAULTS': 'write:short:90,write:EINTR:30,read:EINTR:30'})
        self.assertEqual((done.returncode, done.stdout), (0, Path(__file__).read_text()), done.stderr)

    def test_an_error_that_is_made_up_is_the_programs_to_report(self):
        # Of a program with one thread as well, whose calls the kernel has otherwise.
        done = run(['faults'], '/bin/cat', '/proc/self/comm', env={'FAULTS': 'read:EIO:100'})
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('Input/output error', done.stderr)

    def test_two_plugins_lie_in_one_another(self):
        done = run(['faults', 'trace'], '/bin/sleep', '0.05', env={'FAULTS': 'nanosleep:EINTR:0,clock_nanosleep:EINTR:0'})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r'waited 5\d\.\d+ ms in (clock_)?nanosleep')

    def test_a_plugin_alone_does_nothing(self):
        done = subprocess.run(['/bin/true'], env={'LD_PRELOAD': f'{BUILD}/samples/libtrace.so'}, capture_output=True,
                              text=True, timeout=20, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''))


if __name__ == '__main__':
    BUILD = Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
