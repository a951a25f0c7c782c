"""Programs that know nothing of fibers: what they print and how they end natively, they print and end so preloaded.

usage: preload_test.py LIBRARY PROGRAM [--rounds N] [--workers N,N...] [CASE...]

Each case of PROGRAM (see program.h) is run natively, and with LIBRARY preloaded for each number of workers, always in a
process group of its own, which is ended with it.
"""
import argparse
import os
import signal
import subprocess
import sys
import tempfile
import unittest

TIMEOUT = 30  # a case takes less than a second, alone on a machine


def run(program, case, library=None, workers=1, timeout=TIMEOUT, **more):
    """Returns (how it ended, what it printed). `more` is for the environment."""
    environment = {k: v for k, v in os.environ.items() if k not in ('LD_PRELOAD', 'BIDE_WORKERS')} | more
    if library:
        environment |= {'LD_PRELOAD': library, 'BIDE_WORKERS': str(workers)}
    with tempfile.TemporaryDirectory(prefix='preload') as folder, tempfile.TemporaryFile() as output:
        # Its output is a file: what it leaves running would keep a pipe open.
        child = subprocess.Popen([program, *case], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        try:
            end = child.wait(timeout)
        except subprocess.TimeoutExpired:
            end = f'still running after {timeout} s'
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        output.seek(0)
        return end, output.read().decode(errors='replace')


class Preloaded(unittest.TestCase):
    natively = {}

    def compare(self, program, case, library, workers):
        if case not in self.natively:
            self.natively[case] = run(program, [case])
        self.assertIsInstance(self.natively[case][0], int, 'natively')
        self.assertEqual(run(program, [case], library, workers), self.natively[case])


def add_case(options, program, case, workers, turn):
    def test(self):
        self.compare(program, case, os.path.abspath(options.library), workers)

    name = f'test_{case}_with_{workers}' + (f'_{turn}' if turn else '')
    test.__name__ = name
    setattr(Preloaded, name, test)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('library')
    parser.add_argument('program')
    parser.add_argument('cases', nargs='*')
    parser.add_argument('--rounds', type=int, default=1)
    parser.add_argument('--workers', default='1,2,3')
    options = parser.parse_args()
    program = os.path.abspath(options.program)
    cases = options.cases or run(program, [])[1].split()
    for turn in range(options.rounds):
        for case in cases:
            for workers in options.workers.split(','):
                add_case(options, program, case, int(workers), turn)
    unittest.main(argv=sys.argv[:1], verbosity=2)


if __name__ == '__main__':
    main()
