"""A preloaded program under BIDE_SEED: the same seed is the same course, and time is the program's own.

usage: seed_test.py LIBRARY PROGRAM
"""
import os
import sys
import time
import unittest

from preload_test import run

LIBRARY = PROGRAM = ''


def course(case, seed):
    end, output = run(PROGRAM, [case], LIBRARY, 4, BIDE_SEED=str(seed))
    if end != 0:
        raise AssertionError(f'seed {seed}: ended with {end}\n{output}')
    return output


class Seeds(unittest.TestCase):
    def test_the_same_seed_is_the_same_course_time_and_all(self):
        for seed in (1, 2, 3):
            first = course('course', seed)
            self.assertEqual(len(first.splitlines()), 28)
            for _ in range(3):
                self.assertEqual(course('course', seed), first)

    def test_different_seeds_are_different_courses(self):
        self.assertEqual(len({course('course', seed) for seed in range(1, 11)}), 10)

    def test_a_race_is_found_and_replayed(self):
        found = next((seed for seed in range(1, 201) if course('seat', seed) == '2\n'), None)
        self.assertIsNotNone(found)
        for _ in range(5):
            self.assertEqual(course('seat', found), '2\n')

    def test_the_sleep_of_one_thread_alone_takes_no_time(self):
        began = time.monotonic()
        self.assertEqual(course('alone', 1), 'ETIMEDOUT\nETIMEDOUT\n3 hours\n')
        self.assertLess(time.monotonic() - began, 10)

    def test_what_is_no_seed_is_said(self):
        end, output = run(PROGRAM, ['seat'], LIBRARY, 1, BIDE_SEED='x')
        self.assertEqual(end, 0)
        self.assertIn('bide: BIDE_SEED=x is no number from 0 to', output)


if __name__ == '__main__':
    LIBRARY, PROGRAM = map(os.path.abspath, sys.argv[1:3])
    del sys.argv[1:3]
    unittest.main(verbosity=2)
