"""One word per idea: what another word says for one of ours is found here.

Words that Linux, C++ or a library own (interrupted calls, notify_one, CPU affinity, abort) are theirs to use: only uses for
our own ideas are looked for.
"""
import re
import unittest

import project

# (what is written, what to write)
ELSE = [
    (r'\bcoroutines?\b', 'fiber'),
    (r'\bgreen threads?\b', 'fiber'),
    (r'\bfibres?\b', 'fiber'),
    (r'\bv_?cpus?\b', 'worker'),
    (r'\bevent loops?\b', 'loop'),
    (r'\bsuspend(?:s|ed|ing)?\b[^.]{0,30}\bfibers?\b|\bfibers?\b[^.]{0,30}\bsuspend(?:s|ed|ing)?\b', 'park'),
    (r'\bresum(?:e|es|ed|ing)\b[^.]{0,30}\bfibers?\b|\bfibers?\b[^.]{0,30}\bresum(?:e|es|ed|ing)\b', 'wake'),
    (r'\b(?:un)?block(?:s|ed|ing)? (?:a|the) fibers?\b', 'park, wake'),
    (r'\bhook(?:s|ed|ing)? (?:a |the |libc|calls?|functions?|syscalls?|symbols?)', 'a call has a door'),
    (r'(?<!semantic-)\binterpos\w+', 'a call has a door'),
    (r'\b(?:remote|mpsc) queues?\b', 'inbox'),
    (r'\b(?:wait|deadline|fiber|join|acquire)\w*[^.]{0,30}\btimed out\b', 'expired'),
    (r'\bfibers?\b[^.]{0,20}\babort(?:s|ed)\b', 'cancelled'),
    (r'\bfiber[^.]{0,20}\bscheduler thread\b', 'worker'),
]
# How comments begin that remind and do not say of what kind.
TODO = re.compile(r'\b(?:FIXME|XXX|HACK)\b|\bTODO\b(?!\((?:perf|port|test)\):)')

TEXT = project.CODE | {'.md', '.build', '.options', '.py', ''}


class Words(unittest.TestCase):
    def texts(self):
        for path in project.tracked():
            if path.suffix in TEXT and project.name(path) != 'tests/tidy/words_test.py':
                yield path

    def test_our_ideas_have_one_word_each(self):
        wrong = []
        for path in self.texts():
            for number, line in enumerate(project.lines(path), 1):
                wrong += [f'{project.name(path)}:{number} "{found[0]}": write {ours}' for written, ours in ELSE
                          for found in [re.search(written, line, re.I)] if found]
        self.assertEqual(wrong, [])

    def test_reminders_say_of_what_kind_they_are(self):
        wrong = [f'{project.name(path)}:{number} {line.strip()[:80]}' for path in self.texts()
                 for number, line in enumerate(project.lines(path), 1) if TODO.search(line)]
        self.assertEqual(wrong, [])

    def test_identifiers_are_spelled_as_in_std(self):
        # Types and functions in snake_case: no aCamelHump in what is public.
        hump = re.compile(r'\b[a-z]+[A-Z]\w*|\b[A-Z][a-z]+[A-Z]\w*')
        wrong = []
        for path in project.files('include', kinds={'.hpp'}):
            text = project.code_only(path.read_text())
            wrong += [f'{project.name(path)}:{n} {found[0]}' for n, line in enumerate(text.split('\n'), 1)
                      for found in [hump.search(line)] if found]
        self.assertEqual(wrong, [])


if __name__ == '__main__':
    unittest.main(verbosity=2)
