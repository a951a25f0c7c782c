"""Random programs of which each write is spoiled: the comparison finds it, and shows the few steps that it takes.

usage: spoiled_test.py PROGRAM [test...]
"""
import re
import subprocess
import sys
import unittest

PROGRAM = ''


def play(*options):
    return subprocess.run([PROGRAM, *options], capture_output=True, text=True, timeout=200, check=False)


class Spoiled(unittest.TestCase):
    def test_a_wrong_byte_is_found_and_its_program_shrunk(self):
        done = play('--programs', '2', '--from', '1', '--jobs', '2', '--courses', '1')
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn('some differ', done.stdout)
        shown = re.findall(r'^program \d+, \d+ parties\n((?:  party \d+: .+\n)+)', done.stdout, re.M)
        self.assertTrue(shown, done.stdout)
        for program in shown:
            steps = re.findall(r'party \d+: (\w+) on', program)
            self.assertLessEqual(len(steps), 4, done.stdout)
            self.assertTrue({'send', 'receive'} <= set(steps) or {'pour', 'drain'} <= set(steps), done.stdout)
        self.assertRegex(done.stdout, r'threads .*\n    fibers  .*wrong byte')


if __name__ == '__main__':
    PROGRAM = sys.argv.pop(1)
    unittest.main(verbosity=2)
