"""lib/call/README.md has every call of Linux once, and says of each what the table of calls does.

usage: calls_test.py BUILD_FOLDER [test...]
"""
import re
import subprocess
import sys
import unittest
from pathlib import Path

BUILD = Path()
ROOT = Path(__file__).resolve().parents[2]
KINDS = {'parks', 'elsewhere', 'disk', 'short', "thread's own", 'as is'}


def numbered():
    """The calls that this system's headers know, by name."""
    text = subprocess.run(['cc', '-E', '-dM', '-include', 'asm/unistd.h', '-'], input='', capture_output=True, text=True,
                          timeout=60, check=True).stdout
    return set(re.findall(r'#define __NR_(\w+) \d+', text))


def told():
    """{call: how}, and the calls that are told of twice."""
    how, twice = {}, []
    kernels, _, _ = (ROOT / 'lib/call/README.md').read_text().partition('\n## Waits inside libc')
    for line in kernels.splitlines():
        row = re.match(r'\| ([a-z_0-9 ]+) \| ([^|]+) \|', line)
        if not row or row[1] == 'calls':
            continue
        for name in row[1].split():
            if name in how:
                twice.append(name)
            how[name] = row[2].strip()
    return how, twice


def entries():
    """The calls that have an entry in a linked program, and those in a preloaded one."""
    table = (ROOT / 'lib/call/table.cpp').read_text()
    table = table[table.index('constexpr auto standard'):table.index('constinit std::array')]
    linked, preloaded, where = set(), set(), [True, True]
    for line in table.splitlines():
        if line.startswith('#if'):
            where = [False, True] if 'ifdef BIDE_PRELOAD' in line else [True, False]
        elif line.startswith('#endif'):
            where = [True, True]
        elif line.startswith('#else'):
            where = [not side for side in where]
        for name in re.findall(r't\[SYS_(\w+)\] =', line):
            if where[0]:
                linked.add(name)
            if where[1]:
                preloaded.add(name)
    return linked, preloaded


class Calls(unittest.TestCase):
    def test_every_call_is_told_of_once(self):
        how, twice = told()
        self.assertEqual(sorted(numbered() - set(how)), [])
        self.assertEqual(twice, [])

    def test_the_words_are_those_explained(self):
        how, _ = told()
        self.assertEqual({name: word for name, word in how.items() if word not in KINDS}, {})

    def test_what_is_said_to_wait_well_has_an_entry(self):
        how, _ = told()
        linked, preloaded = entries()
        self.assertEqual(sorted(n for n, word in how.items() if word in ('parks', 'elsewhere', 'disk') and n not in linked), [])
        self.assertEqual(sorted(n for n, word in how.items() if word == 'parks' and n not in preloaded), [])

    def test_what_has_an_entry_is_not_left_as_it_is(self):
        how, _ = told()
        linked, _ = entries()
        self.assertEqual(sorted(n for n in linked if how.get(n) in (None, 'as is', "thread's own")), [])

    def test_a_wrapper_is_told_that_these_wait_and_no_other(self):
        ask = ('import ctypes, sys; libbide = ctypes.CDLL(sys.argv[1]); libbide.bide_call_name.restype = ctypes.c_char_p\n'
               'for n in range(512):\n'
               '    if libbide.bide_call_name(n): print(libbide.bide_call_name(n).decode(), libbide.bide_call_waits(n))')
        done = subprocess.run([sys.executable, '-c', ask, BUILD / 'lib' / 'libbide.so'], capture_output=True, text=True,
                              timeout=60, check=True)
        waits = dict(line.split() for line in done.stdout.splitlines())
        how, _ = told()
        self.assertGreater(len(waits), 300)
        self.assertEqual({name for name, answer in waits.items() if answer == '1'},
                         {name for name in waits if how[name] in ('parks', 'elsewhere', 'disk')})

    def test_the_headers_are_read(self):
        self.assertGreater(len(numbered()), 300)
        self.assertLessEqual({'read', 'futex', 'wait4'}, numbered())


if __name__ == '__main__':
    BUILD = Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
