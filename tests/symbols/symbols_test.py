"""What the libraries export, import and install is what is meant, and no more.

usage: symbols_test.py BUILD_FOLDER [test...]
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = Path()
LIBBIDE, LIBHOOK = 'libbide.so', 'libbide-hook.so'

# Where glibc's functions are. Since 2.34 most are in the first, and some of the others are empty.
GLIBC = ('libc.so.6', 'libpthread.so.0', 'librt.so.1', 'libresolv.so.2', 'libanl.so.1', 'libutil.so.1', 'libdl.so.2')
OLDEST, NEWEST = 31, 42  # 2.31 to 2.42


def run(*command, **how):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, check=False, **how)
    if done.returncode:
        raise AssertionError(f'{" ".join(map(str, command))}\n{done.stdout}{done.stderr}')
    return done.stdout


def symbols(library, *options):
    """The dynamic symbols of a library, with nm's letter: {name: letter}."""
    found = {}
    for line in run('nm', '-D', '--format=posix', *options, library).splitlines():
        match = re.match(r'(.+?) (\w)(?: |$)', line)
        if match:
            found[match[1]] = match[2]
    return found


def built(name):
    return BUILD / 'lib' / name


def listed(name):
    return [line for line in (HERE / name).read_text().splitlines() if line and not line.startswith('#')]


def dynamic(library, tag):
    return re.findall(rf'\({tag}\).*\[(.+)\]', run('readelf', '-d', built(library)))


class Exports(unittest.TestCase):
    def compare(self, exported, wanted):
        self.assertEqual({'exported and not listed': sorted(set(exported) - set(wanted)),
                          'listed and not exported': sorted(set(wanted) - set(exported))},
                         {'exported and not listed': [], 'listed and not exported': []})

    def test_libbide_exports_what_its_list_says(self):
        self.compare(symbols(built(LIBBIDE), '--defined-only', '-C'), listed('libbide.txt'))

    def test_libbide_hook_exports_what_its_list_says(self):
        offered = [re.sub(r'^\+ ([^:]+):.*', r'\1', line) for line in listed('libbide-hook.txt') if not line.startswith('- ')]
        self.compare(symbols(built(LIBHOOK), '--defined-only'), offered)

    def test_the_door_has_no_version(self):
        # A versioned name would pass by programs that were linked against another version of libc's.
        self.assertNotIn('Version definition', run('readelf', '-V', built(LIBHOOK)))

    def test_libev_and_boost_stay_inside(self):
        for library in (LIBBIDE, LIBHOOK):
            for name in symbols(built(library)):
                self.assertNotRegex(name, r'^_?ev_|^jump_fcontext|^make_fcontext|^ontop_fcontext|boost')
            self.assertFalse([n for n in dynamic(library, 'NEEDED') if re.match(r'lib(ev|boost)', n)])

    def test_a_c_program_that_is_preloaded_loads_no_libstdcxx(self):
        self.assertEqual(set(dynamic('libbide-preload.so', 'NEEDED')) - {'ld-linux-x86-64.so.2'}, {'libc.so.6', 'libgcc_s.so.1'})

    def test_the_libraries_have_their_sonames(self):
        self.assertEqual(dynamic(LIBBIDE, 'SONAME'), ['libbide.so.0'])
        self.assertEqual(dynamic(LIBHOOK, 'SONAME'), ['libbide-hook.so.0'])
        self.assertIn('libbide.so.0', dynamic(LIBHOOK, 'NEEDED'))

    def test_no_stack_is_executable(self):
        for library in (LIBBIDE, LIBHOOK):
            self.assertRegex(run('readelf', '-lW', built(library)), r'GNU_STACK\s.* RW ')


def functions(library):
    """The public functions of a library of glibc's, with the second number of each version that they have: {name: {36, ...}}."""
    path = run('cc', f'-print-file-name={library}').strip()
    found = {}
    for line in run('nm', '-D', '--defined-only', '--with-symbol-versions', path).splitlines():
        _, letter, symbol = line.split()
        name, _, version = symbol.partition('@')
        version = re.fullmatch(r'@?GLIBC_2\.(\d+)(?:\.\d+)?', '@' + version.lstrip('@'))
        if version and letter in 'TtWwi':
            found.setdefault(name, set()).add(int(version[1]))
    return found


class Glibc(unittest.TestCase):
    """Every function of glibc's, of each version from 2.31 to 2.42, is offered, left alone for a reason, or never waits."""

    @classmethod
    def setUpClass(cls):
        cls.installed = int(re.search(r'release version 2\.(\d+)', run(run('cc', '-print-file-name=libc.so.6').strip()))[1])
        cls.libc = functions('libc.so.6')
        beside = [functions(library) for library in GLIBC[1:]]
        # What an even newer glibc brings is not spoken of here.
        cls.public = {name for those in (cls.libc, *beside) for name, versions in those.items() if min(versions) <= NEWEST}
        text = re.sub(r'\n  ', ' ', '\n'.join(listed('glibc.txt')))
        cls.news = {int(m[1]): set(m[2].split()) for m in re.finditer(r'(?m)^2\.(\d+): (.+)$', text)}
        cls.ever = cls.public.union(*cls.news.values())

    def test_every_offered_name_is_one_of_glibcs(self):
        plain = [line for line in listed('libbide-hook.txt') if line[0] not in '+-']
        self.assertEqual([name for name in plain if name not in self.ever], [])
        beyond = [re.match(r'\+ ([^:]+): \w', line) for line in listed('libbide-hook.txt') if line[0] == '+']
        self.assertNotIn(None, beyond, 'a name that glibc lacks needs its reason')
        self.assertEqual([m[1] for m in beyond if m[1] in self.ever], [])

    def test_the_list_of_versions_agrees_with_the_installed_one(self):
        self.assertLessEqual(OLDEST, self.installed)
        self.assertTrue(all(OLDEST < version <= NEWEST for version in self.news))
        for version in range(OLDEST + 1, NEWEST + 1):
            here = {name for name, versions in self.libc.items() if version in versions}
            wanted = self.news.get(version, set()) if version <= self.installed else set()
            self.assertEqual((version, sorted(here ^ wanted)), (version, []))

    def test_every_function_is_offered_or_left_alone_for_a_reason_or_never_waits(self):
        offered, left = set(), set()
        for line in listed('libbide-hook.txt'):
            if line[0] == '-':
                self.assertRegex(line, r'^- [^:]+: \w')
                left.update(line[2:].partition(':')[0].split())
            else:
                offered.add(re.sub(r'^\+ ([^:]+):.*', r'\1', line))
        patterns = [pattern for line in listed('never_waits.txt') for pattern in line.partition(': ')[2].split()]
        matches = {pattern: {name for name in self.ever if re.fullmatch(pattern, name)} for pattern in patterns}
        never = set().union(*matches.values())
        self.assertEqual({'not classified': sorted(self.ever - offered - left - never),
                          'classified twice': sorted((offered & left) | (offered & never) | (left & never)),
                          'no function of glibc': sorted(left - self.ever) + [p for p, names in matches.items() if not names]},
                         {'not classified': [], 'classified twice': [], 'no function of glibc': []})
        print(f'{len(self.ever)} functions of glibc 2.{OLDEST} to 2.{NEWEST}: {len(offered & self.ever)} offered, '
              f'{len(left)} left alone, {len(never)} never wait')

    def test_the_libraries_are_read(self):
        self.assertGreater(len(self.public), 2000)
        self.assertLessEqual({'__read_chk', '__poll_chk', 'read', 'pthread_join', 'mq_receive', 'res_gethostbyname'}, self.public)


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix='bide-installed.'))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        run('meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', cls.folder)
        cls.pc = next(cls.folder.rglob('bide.pc')).parent
        cls.libraries = cls.pc.parent

    def pkg_config(self, *what):
        where = {'PKG_CONFIG_LIBDIR': str(self.pc), 'PKG_CONFIG_SYSROOT_DIR': str(self.folder)}
        return run('pkg-config', *what, env=os.environ | where).split()

    def build_and_run(self, source, package, *more):
        program = self.folder / Path(source).stem
        run('c++', '-std=c++20', '-Wall', '-Wextra', '-Werror', HERE / source, *self.pkg_config('--cflags', '--libs', package),
            *more, '-o', program)
        return run(program, env=os.environ | {'LD_LIBRARY_PATH': str(self.libraries)}), program

    def test_every_public_header_is_installed_and_no_other(self):
        below = lambda folder: sorted(str(p.relative_to(folder)) for p in folder.rglob('*.h*'))
        installed = next(p for p in self.folder.rglob('bide.hpp')).parents[1]
        self.assertEqual(below(installed), below(ROOT / 'include'))

    def test_the_man_pages_are_installed_and_have_no_errors(self):
        pages = sorted(self.folder.rglob('bide.[137]*'))
        self.assertEqual([(page.parent.name, page.name) for page in pages],
                         [('man1', 'bide.1'), ('man3', 'bide.3'), ('man7', 'bide.7')])
        if not shutil.which('groff'):
            print('groff is not installed: the pages are not formatted')
            return
        for page in pages:
            done = subprocess.run(['groff', '-man', '-Tutf8', '-ww', page], capture_output=True, text=True, timeout=60, check=True)
            self.assertEqual(done.stderr, '')

    def test_the_man_page_of_the_c_api_names_every_function(self):
        declared = re.findall(r'^BIDE_C_API .*?\b(bide_\w+)\(', (ROOT / 'include/bide/bide.h').read_text(), re.MULTILINE)
        self.assertGreater(len(declared), 50)
        page = next(self.folder.rglob('bide.3')).read_text()
        self.assertEqual([name for name in declared if name not in page], [])

    def test_a_program_builds_with_bide_and_runs(self):
        said, program = self.build_and_run('plain.cpp', 'bide')
        self.assertEqual(said, 'spawned 42\n')
        self.assertNotIn('libbide-hook', run('readelf', '-d', program))

    def test_a_program_builds_with_bide_hook_and_its_sleeps_wait_beside_each_other(self):
        said, program = self.build_and_run('hooked.cpp', 'bide-hook')
        self.assertEqual(said, 'together\n')
        # Whatever else is linked: the door comes before libc, though nothing asks for it by name.
        needed = re.findall(r'\(NEEDED\).*\[(.+)\]', run('readelf', '-d', program))
        self.assertLess(needed.index('libbide-hook.so.0'), needed.index('libc.so.6'))

    def test_a_program_with_a_malloc_of_its_own_behind_a_lock_runs(self):
        said, _ = self.build_and_run('own_malloc.cpp', 'bide-hook', '-pthread')
        self.assertEqual(said, '16150 by its own malloc: yes\n')

    def test_a_c99_program_builds_with_bide_and_runs(self):
        # The header alone, in the strictest C there is; then what a program would be built with.
        strict = ['cc', '-std=c99', '-pedantic-errors', '-Wall', '-Wextra', '-Werror']
        for package, names_libc in (('bide', False), ('bide-hook', True)):
            with self.subTest(package):
                program = self.folder / f'plain_c_{package}'
                run(*strict, HERE / 'plain.c', *self.pkg_config('--cflags', '--libs', package), '-o', program)
                said = run(program, env=os.environ | {'LD_LIBRARY_PATH': str(self.libraries)})
                self.assertEqual(said, 'spawned 42, then cancelled; outside it is refused\n')
                self.assertEqual('libbide-hook' in run('readelf', '-d', program), names_libc)

    def test_the_c_samples_build_against_what_is_installed(self):
        for sample in sorted((ROOT / 'samples/c').glob('*.c')):
            with self.subTest(sample.name):
                run('cc', '-std=c99', '-pedantic-errors', '-Wall', '-Wextra', '-Werror', sample,
                    *self.pkg_config('--cflags', '--libs', 'bide-hook'), '-o', self.folder / f'c_{sample.stem}')

    def test_nothing_names_the_build_folder(self):
        for path in [*self.pc.glob('*.pc'), *self.folder.rglob('*.hpp')]:
            self.assertNotIn(str(BUILD), path.read_text())
        for library in (LIBBIDE, LIBHOOK):
            self.assertNotRegex(run('readelf', '-d', next(self.folder.rglob(library))), 'RPATH|RUNPATH')


if __name__ == '__main__':
    BUILD = Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
