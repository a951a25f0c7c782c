"""Files are short, about one thing, built, and say nothing of the machine they were written on."""
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import project

LONGEST = 500  # lines, in lib/ include/ asm/


class Files(unittest.TestCase):
    def test_no_file_is_long(self):
        wrong = {project.name(p): len(project.lines(p)) for p in project.files('lib', 'include', 'asm', kinds=project.CODE)
                 if len(project.lines(p)) > LONGEST}
        self.assertEqual(wrong, {})

    def test_every_source_is_built(self):
        wrong = []
        for path in project.files('lib', 'asm', 'tests', 'samples', kinds={'.cpp', '.c', '.S'}):
            builds = ''
            for folder in [*path.parents]:
                if (folder / 'meson.build').is_file():
                    builds += (folder / 'meson.build').read_text()
                if folder == project.ROOT:
                    break
            builds += (project.ROOT / 'lib' / 'meson.build').read_text()
            # A test may compile a program of its own.
            builds += ''.join(script.read_text() for script in path.parent.glob('*.py'))
            # By its name, or by its stem where a loop makes the names.
            stem = re.sub(r'_test$', '', path.stem)
            if path.name not in builds and not re.search(rf"'{re.escape(path.stem)}'|'{re.escape(stem)}'", builds):
                wrong.append(project.name(path))
        self.assertEqual(wrong, [])

    def test_every_header_is_included(self):
        included = {i for p in project.files(kinds=project.CODE) for _, i, _ in project.includes(p)}
        wrong = []
        for path in project.files('lib', 'asm', 'include', 'tests', 'samples', kinds={'.hpp', '.h'}):
            inside = project.name(path)
            names = {inside, inside.removeprefix('include/'), path.name}
            names |= {str(Path(*path.parts[-n:])) for n in (2, 3)}
            if not names & included and path.name != 'bide.hpp':
                wrong.append(inside)
        self.assertEqual(wrong, [])

    def test_every_header_is_included_once_only(self):
        wrong = [project.name(p) for p in project.files('lib', 'include', 'tests', 'samples', kinds={'.hpp'})
                 if '#pragma once' not in p.read_text()]
        self.assertEqual(wrong, [])

    def test_lines_end_clean(self):
        wrong = []
        for path in project.files('lib', 'include', 'asm', 'tests', 'samples', '.ci', kinds=project.CODE | {'.py', '', '.build'}):
            text = path.read_text(encoding='utf-8')
            if text and not text.endswith('\n'):
                wrong.append(f'{project.name(path)} has no newline at its end')
            wrong += [f'{project.name(path)}:{n} ends in blanks or has a tab' for n, line in enumerate(text.split('\n'), 1)
                      if line != line.rstrip() or ('\t' in line and path.suffix != '')]
        self.assertEqual(wrong, [])

    def test_no_path_of_a_machine_is_named(self):
        # Roots that are somebody's, not every Debian's. Made of pieces, so as not to find itself.
        somebodys = re.compile(r'(?<![\w.$}/])/(?:' + '|'.join(['ho' + 'me', 'ro' + 'ot', 'wo' + 'rk', 'mn' + 't', 'Us' + 'ers'])
                               + r')/[\w.]')
        wrong = []
        for path in project.tracked():
            try:
                text = path.read_text(encoding='utf-8')
            except UnicodeDecodeError:
                continue
            wrong += [f'{project.name(path)}:{n} {line.strip()[:80]}' for n, line in enumerate(text.split('\n'), 1)
                      if somebodys.search(line)]
        self.assertEqual(wrong, [])

    def test_scripts_may_be_run(self):
        wrong = [project.name(p) for p in project.tracked()
                 if p.read_bytes()[:2] == b'#!' and not p.stat().st_mode & 0o100 and p.suffix != '.sh']
        self.assertEqual(wrong, [])


class Headers(unittest.TestCase):
    def test_each_public_header_compiles_alone(self):
        wrong = []
        with tempfile.TemporaryDirectory() as folder:
            for path in project.files('include', kinds={'.hpp'}):
                source = Path(folder) / 'alone.cpp'
                inside = project.name(path).removeprefix('include/')
                # Twice, so that its guard is seen to work.
                source.write_text(f'#include <{inside}>\n#include <{inside}>\n')
                done = subprocess.run(['c++', '-std=c++20', '-Wall', '-Wextra', '-Wpedantic', '-Werror', '-fsyntax-only',
                                       f'-I{project.ROOT}/include', str(source)], capture_output=True, text=True, timeout=120,
                                      check=False)
                if done.returncode:
                    wrong.append(f'{inside}:\n{done.stderr}')
        self.assertEqual(wrong, [])

    def test_each_public_header_is_installed(self):
        builds = (project.ROOT / 'include' / 'meson.build').read_text()
        wrong = [project.name(p) for p in project.files('include', kinds={'.hpp', '.h'})
                 if project.name(p).removeprefix('include/') not in builds]
        self.assertEqual(wrong, [])


if __name__ == '__main__':
    unittest.main(verbosity=2)
