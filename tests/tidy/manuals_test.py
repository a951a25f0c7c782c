"""What the manual pages and the README name is what there is, and their examples compile."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import project

MAN = project.ROOT / 'lib' / 'man'
LANGUAGES = {'bide.3': ['cc', '-std=c99', '-xc'], 'bide.7': ['c++', '-std=c++20', '-xc++']}


def read(*parts):
    return project.ROOT.joinpath(*parts).read_text(encoding='utf-8')


def plain(page):
    """A page's text without the marks of roff."""
    return re.sub(r'\\f.|\\', '', read('lib', 'man', page))


class Manuals(unittest.TestCase):
    @unittest.skipUnless(shutil.which('man'), 'there is no man here')
    def test_pages_have_no_mistakes_in_their_marks(self):
        for page in MAN.glob('bide.*'):
            done = subprocess.run(['man', '--warnings', '--local-file', str(page)], capture_output=True, text=True, check=False,
                                  env={**os.environ, 'MANPAGER': 'cat', 'MANROFFSEQ': ''})
            self.assertEqual((done.returncode, done.stderr), (0, ''), page)

    def test_every_function_of_the_c_api_is_in_its_page(self):
        headers = read('include', 'bide', 'bide.h') + read('include', 'bide', 'calls.h')
        there = set(re.findall(r'^BIDE_C(?:ALLS)?_API [^;]*?\b(bide_\w+)\(', headers, re.M))
        self.assertGreater(len(there), 50)
        self.assertEqual(there, set(re.findall(r'^\.BI "\w[^"(]*?\b(bide_\w+)\(', read('lib', 'man', 'bide.3'), re.M)))

    def test_every_option_of_bide_run_is_told(self):
        options = set(re.findall(r'add_option\("(--\w+)"', read('lib', 'launcher', 'main.cpp')))
        self.assertGreater(len(options), 4)
        for text in (plain('bide.1'), read('README.md')):
            self.assertEqual(options - set(re.findall(r'--\w+', text)), set())

    def test_every_class_and_function_of_the_overview_is_declared(self):
        declared = '\n'.join(project.code_only(path.read_text(encoding='utf-8'))
                             for path in project.files('include', kinds={'.hpp'}))
        named = set(re.findall(r'bide::(\w+)', plain('bide.7')))
        self.assertGreater(len(named), 25)
        self.assertEqual({name for name in named if not re.search(rf'\b{name}\b', declared)}, set())

    def test_examples_compile(self):
        for page, (compiler, *language) in LANGUAGES.items():
            example = re.search(r'^\.SH EXAMPLES\n\.nf\n(.*?)^\.fi', read('lib', 'man', page), re.M | re.S)[1]
            example = example.replace('\\e', '\\').replace('\\-', '-').replace('\\&', '')
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder) / 'example'
                source.write_text(example, encoding='utf-8')
                done = subprocess.run([os.environ.get(compiler.upper().replace('C++', 'CXX'), compiler), *language,
                                       '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-I', project.ROOT / 'include', source],
                                      capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, f'{page}: {done.stderr}')


if __name__ == '__main__':
    unittest.main()
