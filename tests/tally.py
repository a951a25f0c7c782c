#!/usr/bin/env python3
"""Counts the test cases in meson's logs: doctest's, unittest's, and a test that is neither as one.

usage: tally.py [--failures] LOG...

LOG is NAME=testlog.json; NAME is told beside a failure. With --failures only those are printed, and no sum. Exit status
1 if anything failed, or if nothing ran.
"""
import json
import re
import sys
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field


@dataclass
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    notes: list = field(default_factory=list)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.notes += other.notes

    def __str__(self):
        line = f'{self.passed} passed, {self.failed} failed'
        return line + (f', {self.skipped} skipped' if self.skipped else '')


def of_junit(text):
    """doctest's reporter; what a crash left of it is counted too."""
    count = Count()
    start = text.index('<testsuites')
    text = re.sub(r'[^\x09\x0a\x20-\uffff]', '?', text[start:])
    end = text.find('</testsuites>')
    if end >= 0:
        cases = xml.fromstring(text[:end + len('</testsuites>')]).iter('testcase')
        for case in cases:
            wrong = case.findall('failure') + case.findall('error')
            if wrong:
                count.failed += 1
                text = wrong[0].text or wrong[0].get('message') or ''
                why = ' '.join(text.partition('logged:')[2].split() or text.split())
                count.notes.append(f'{case.get("name")}: {why[:300]}')
            else:
                count.passed += 1
    return count


def of_doctest(text):
    match = None
    for match in re.finditer(r'\[doctest\] test cases:\s*(\d+) \|\s*(\d+) passed \|\s*(\d+) failed', text):
        pass
    return Count(passed=int(match[2]), failed=int(match[3]),
                 notes=[f'{name.strip()}' for name in re.findall(r'^TEST CASE:(.*)$', text, re.M)] if int(match[3]) else [])


def of_unittest(text):
    ran = int(re.search(r'^Ran (\d+) tests?', text, re.M)[1])
    parts = {name: sum(int(n) for n in re.findall(rf'^(?:OK|FAILED) \(.*?\b{name}=(\d+)', text, re.M))
             for name in ('failures', 'errors', 'skipped')}
    failed = parts['failures'] + parts['errors']
    return Count(passed=ran - failed - parts['skipped'], failed=failed, skipped=parts['skipped'],
                 notes=re.findall(r'^(?:FAIL|ERROR): (\S+)', text, re.M))


def of_test(test):
    """One line of meson's log."""
    out, err = test.get('stdout') or '', test.get('stderr') or ''
    if test['result'] == 'SKIP':
        why = re.search(r'^skip: (.*)', out, re.M)
        return Count(skipped=1, notes=[f'skipped: {why[1] if why else "no reason given"}'])
    well = test['result'] in ('OK', 'EXPECTEDFAIL')
    if '<testsuites' in out:
        count = of_junit(out)
    elif '[doctest] test cases:' in out:
        count = of_doctest(out)
    elif re.search(r'^Ran \d+ tests?', err, re.M):
        count = of_unittest(err)
    else:
        count = Count(passed=1) if well else Count()
    # Cases that found out by themselves that they cannot run here.
    skips = re.findall(r'^skip: (.*)', err, re.M)
    count.add(Count(passed=-len(skips), skipped=len(skips), notes=[f'skipped: {why}' for why in skips]))
    if not well and not count.failed:
        last = ' '.join(err.split())[-300:]
        count.add(Count(failed=1, notes=[f'ended as {test["result"]}, status {test.get("returncode")}: {last}']))
    elif well and not count.passed and not count.skipped:
        count.add(Count(failed=1, notes=['ran no test case']))
    return count


def main(arguments):
    only_failures = '--failures' in arguments
    total = Count()
    for argument in arguments:
        if argument.startswith('--'):
            continue
        name, _, path = argument.partition('=')
        with open(path, encoding='utf-8') as log:
            for line in log:
                test = json.loads(line)
                count = of_test(test)
                total.add(Count(count.passed, count.failed, count.skipped))
                for note in count.notes:
                    if not only_failures or not note.startswith('skipped: '):
                        print(f'  {name}: {test["name"]}: {note}')
    if not only_failures:
        print(total)
    return 1 if total.failed or not total.passed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
