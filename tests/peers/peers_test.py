"""Each test that README.md names is there.

usage: peers_test.py
"""
import re
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent


def named():
    rows = (line.strip('|').split(' | ') for line in (HERE / 'README.md').read_text().splitlines() if line.startswith('| '))
    return {cells[-1].strip() for cells in rows} - {'test'}


def there():
    text = lambda pattern: ''.join(path.read_text() for path in HERE.parent.glob(pattern))
    cases = {re.sub(r'\\(.)', r'\1', name) for name in re.findall(r'TEST_CASE\("((?:[^"\\]|\\.)*)"\)', text('*/**/*_test.cpp'))}
    return cases | {name.replace('_', ' ') for name in re.findall(r'def test_(\w+)', text('*/*_test.py'))}


class Peers(unittest.TestCase):
    def test_each_named_test_is_there(self):
        self.assertEqual(sorted(named() - there()), [])

    def test_the_list_is_read(self):
        self.assertGreater(len(named()), 70)


if __name__ == '__main__':
    unittest.main(verbosity=2)
