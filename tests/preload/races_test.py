"""A library that delays at random where threads race (lib/base/race.hpp): all is as natively; and not, when one of the
protections is missing. A test that can't tell would prove nothing.

usage: races_test.py LIBRARY PROGRAM [--rounds N]
"""
import argparse
import functools
import os
import unittest
from concurrent.futures import ThreadPoolExecutor

from preload_test import run

WORKERS = (1, 2, 3)
TRIES = 60     # in which a missing protection must show; one in six shows the rarest
PATIENCE = 6   # seconds, with one missing: a case takes one or two
AT_ONCE = 6    # they sleep most of the time
# Which case needs which, and with how many workers it shows.
NEEDED = {'claim': ('stuck_calls', 1), 'second_look': ('hand_overs', 2), 'check_enlisted': ('hand_overs', 2),
          'end_last': ('short_lives', 2), 'inside': ('hand_overs', 1), 'locks': ('crowd', 3)}


@functools.cache
def natively(case):
    return run(OPTIONS.program, [case])


def delayed(case, workers, **how):
    return run(OPTIONS.program, [case], OPTIONS.library, workers, BIDE_PREEMPT='1', **how)


def first_wrong(protection):
    case, workers = NEEDED[protection]
    ends = (delayed(case, workers, timeout=PATIENCE, BIDE_WITHOUT=protection) for _ in range(TRIES))
    return next((end for end in ends if end != natively(case)), None)


class Races(unittest.TestCase):
    def test_delays_change_nothing(self):
        cases = [(case, workers) for case in run(OPTIONS.program, [])[1].split() for workers in WORKERS * OPTIONS.rounds]
        self.assertTrue(cases)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for (case, workers), end in zip(cases, pool.map(lambda c: delayed(*c), cases)):
                with self.subTest(case=case, workers=workers):
                    self.assertEqual(end, natively(case))

    def test_each_protection_is_needed(self):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for protection, end in zip(NEEDED, pool.map(first_wrong, NEEDED)):
                with self.subTest(without=protection):
                    self.assertIsNotNone(end, f'nothing went wrong in {TRIES} runs')
                    print(f'without {protection}: {NEEDED[protection][0]}: {end}', flush=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('library', type=os.path.abspath)
    parser.add_argument('program', type=os.path.abspath)
    parser.add_argument('--rounds', type=int, default=1)
    OPTIONS = parser.parse_args()
    unittest.main(argv=['races_test.py'], verbosity=2)
