"""libc's patched syscall sites: each is what it was taken for, BIDE_PATCH=0 leaves libc alone, and gdb sees through.

usage: patch_test.py LIBRARY PROGRAM
"""
import os
import re
import shutil
import subprocess
import sys
import unittest

LIBRARY, PROGRAM = map(os.path.abspath, sys.argv[1:3])
TIMEOUT = 60


def text_of_libc(**environment):
    """libc's code as the program has it after its second thread, with the file it comes from: (file, address, offset, bytes)."""
    done = subprocess.run([PROGRAM, 'show_patched'], env=os.environ | environment, capture_output=True, text=True,
                          timeout=TIMEOUT, check=True)
    where, code = done.stdout.splitlines()
    file, address, offset = where.split()
    return file, int(address, 16), int(offset, 16), bytes.fromhex(code)


def in_the_file(file, offset, size):
    with open(file, 'rb') as f:
        f.seek(offset)
        return f.read(size)


def instructions(file):
    """What objdump makes of it: {address: instruction}, and where branches lead."""
    dump = subprocess.run(['objdump', '-d', '--no-show-raw-insn', '-w', file], capture_output=True, text=True, check=True).stdout
    found, targets = {}, set()
    for address, text in re.findall(r'^ *([0-9a-f]+):\t(.*)$', dump, re.M):
        found[int(address, 16)] = text
        branch = re.match(r'(?:\w+ )?(?:j\w+|call|loop\w*) +([0-9a-f]+)\b', text)
        if branch:
            targets.add(int(branch[1], 16))
    return found, targets


class Patched(unittest.TestCase):
    def test_each_site_is_what_it_was_taken_for(self):
        file, base, offset, code = text_of_libc(LD_PRELOAD=LIBRARY)
        before = in_the_file(file, offset, len(code))
        known, targets = instructions(file)
        at, sites, ends = 0, 0, 0
        while at < len(code):
            if code[at] == before[at]:
                at += 1
                continue
            sites += 1
            address = base + at
            self.assertEqual(code[at], 0xe9, f'{address:x} is no jump')
            self.assertIn(address, known, f'{address:x} is in the middle of an instruction')
            if known[address].startswith('syscall'):
                self.assertTrue(known[address + 2].startswith('cmp'), known[address + 2])
                last = address + 8
            elif known[address].startswith('xor'):
                self.assertRegex(known[address + 2], r'mov +%e\w+,%eax')
                self.assertTrue(known[address + 4].startswith('syscall'), known[address + 4])
                self.assertRegex(known[address + 6], rf'jmp +{address:x}\b')
                ends += 1
                last = address + 8
            else:
                self.assertRegex(known[address], r'mov +\$0x[0-9a-f]+,%eax')
                behind = address + 5 + 7 * known[address + 5].startswith('lea')
                self.assertTrue(known[behind].startswith('syscall'), known[behind])
                last = address + 5
            self.assertEqual([hex(t) for t in targets if address < t < last], [])
            at += last - address
        # Where it is another libc, there may be fewer.
        self.assertGreater(sites, 300)
        self.assertGreater(ends, 0)

    def test_it_can_be_left_out(self):
        file, _, offset, code = text_of_libc(LD_PRELOAD=LIBRARY, BIDE_PATCH='0')
        self.assertEqual(code, in_the_file(file, offset, len(code)))

    @unittest.skipUnless(shutil.which('gdb'), 'gdb is missing')
    def test_gdb_sees_who_waits_in_a_patched_call(self):
        commands = ['set pagination off', 'set debuginfod enabled off', 'handle SIGSYS nostop noprint pass',
                    f'set environment LD_PRELOAD {LIBRARY}', 'break now_reads', 'run read_for_ever', 'break bide_gate_wait if $rdi == 0',
                    'continue', 'backtrace']
        done = subprocess.run(['gdb', '-nx', '-batch', *(x for c in commands for x in ('-ex', c)), PROGRAM], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=TIMEOUT, check=False)
        frames = re.findall(r'^#\d+ .*', done.stdout, re.M)
        names = [m[1] for f in frames for m in [re.search(r'(?:in )?([\w:() ]+?) \(', f)] if m]
        self.assertRegex(' '.join(frames), r'bide_gate_wait.*bide_patched_call.*read.*read_from_pipe.*read_for_ever.*main', done.stdout)
        self.assertIn('main', names[-1], done.stdout)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=2)
