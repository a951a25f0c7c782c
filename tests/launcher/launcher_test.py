"""bide as its user meets it: what runs, on what threads, with which environment, and what it says when it can't.

usage: launcher_test.py BUILD_FOLDER [test...]
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BUILD = Path()
NATIVE, FIBERS = 'native\n', 'fibers\n'
NOBODY = 65534


def end_of(*command, env=None, **how):
    """Exit status, stdout and stderr of a command whose environment has nothing of ours but what `env` says."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(('BIDE_', 'LD_PRELOAD'))}
    done = subprocess.run([str(word) for word in command], env=clean | (env or {}), capture_output=True, text=True,
                          timeout=60, check=False, **how)
    return done.returncode, done.stdout, done.stderr


class Launcher(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bide = BUILD / 'lib' / 'bide'
        cls.library = BUILD / 'lib' / 'libbide-preload.so.0'
        cls.threads = BUILD / 'tests' / 'launcher' / 'launcher_threads'
        cls.static = BUILD / 'tests' / 'launcher' / 'launcher_static'
        cls.folder = Path(tempfile.mkdtemp(prefix='bide-launcher.'))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.folder.chmod(0o755)

    def copy_of(self, program, name, mode=0o755):
        path = self.folder / name
        shutil.copyfile(program, path)
        path.chmod(mode)
        return path

    def text(self, name, content, mode=0o755):
        path = self.folder / name
        path.write_text(content)
        path.chmod(mode)
        return path

    def refused(self, status, says, *words, **how):
        """One line on stderr, nothing on stdout, that status."""
        code, out, err = end_of(self.bide, *words, **how)
        self.assertEqual((code, out, err.count('\n')), (status, '', 1), err)
        self.assertRegex(err, rf'^bide: .*{says}')

    def native(self, says, *words, **how):
        """The program runs, on native threads, and one line says why."""
        code, out, err = end_of(self.bide, 'run', *words, **how)
        self.assertEqual((code, out, err.count('\n')), (7, NATIVE, 1), err)
        self.assertRegex(err, f'^bide: .* native threads: .*{says}')


class Run(Launcher):
    def test_threads_are_fibers(self):
        self.assertEqual(end_of(self.threads), (7, NATIVE, ''))
        self.assertEqual(end_of(self.bide, 'run', self.threads), (7, FIBERS, ''))

    def test_several_workers(self):
        self.assertEqual(end_of(self.bide, 'run', '--workers', 2, '--', self.threads), (7, FIBERS, ''))

    def test_arguments_arrive_as_they_were_given(self):
        words = ['a b', '[c,d]', '', '--', '--workers', '--help', '-x', '*']
        expected = 'fibers ' + ' '.join(f'<{word}>' for word in words) + '\n'
        for begin in ([], ['--'], ['--preempt', 'off'], ['--preempt=5', '--']):
            self.assertEqual(end_of(self.bide, 'run', *begin, self.threads, *words), (7, expected, ''))

    def test_options_are_the_environment_of_the_library(self):
        options = ['--workers', '3', '--preempt', 'off', '--seed', '9', '--patch', 'off', '--disable', 'io_uring,fsgsbase']
        code, out, err = end_of(self.bide, 'run', *options, 'env', env={'BIDE_WORKERS': '2'})
        self.assertEqual((code, err), (0, ''))
        self.assertEqual({line for line in out.splitlines() if line.startswith('BIDE_')},
                         {'BIDE_WORKERS=3', 'BIDE_PREEMPT=off', 'BIDE_SEED=9', 'BIDE_PATCH=off', 'BIDE_DISABLE=io_uring,fsgsbase'})

    def test_without_options_the_environment_stays(self):
        out = end_of(self.bide, 'run', 'env', env={'BIDE_WORKERS': '2'})[1]
        self.assertEqual([line for line in out.splitlines() if line.startswith('BIDE_')], ['BIDE_WORKERS=2'])

    def test_what_is_preloaded_already_is_kept_and_ours_is_there_once(self):
        other = self.copy_of(self.library.resolve().parent / 'libbide.so.0.1.0', 'libother.so')
        for before in (f'{other}', f'{other} {self.library}', f':{self.library}: {other}'):
            out = end_of(self.bide, 'run', 'env', env={'LD_PRELOAD': before})[1]
            self.assertIn(f'LD_PRELOAD={self.library}:{other}\n', out)

    def test_the_program_is_this_process(self):
        started = subprocess.Popen([self.bide, 'run', 'sh', '-c', 'echo $$'], stdout=subprocess.PIPE, text=True)
        self.assertEqual(int(started.communicate(timeout=60)[0]), started.pid)

    def test_the_program_sees_the_name_it_was_called_by(self):
        out = end_of(self.bide, 'run', 'python3', '-c', 'import sys; print(sys.orig_argv[0])')[1]
        self.assertEqual(out, 'python3\n')

    def test_a_script_runs_with_its_interpreter_served(self):
        script = self.text('script', f'#!{self.threads} first\n')
        self.assertEqual(end_of(self.bide, 'run', script, 'last'), (7, f'fibers <first> <{script}> <last>\n', ''))

    def test_a_script_without_a_first_line_is_the_shells(self):
        script = self.text('plain-script', 'echo "$0 $1"\n')
        self.assertEqual(end_of(self.bide, 'run', script, 'word'), (0, f'{script} word\n', ''))


class Finding(Launcher):
    def test_the_first_in_path_that_can_be_executed_runs(self):
        folders = [self.folder / name for name in ('none', 'locked', 'right', 'later')]
        for folder in folders[1:]:
            folder.mkdir()
            shutil.copy(self.threads, folder / 'tool')
        (folders[1] / 'tool').chmod(0o644)
        (folders[3] / 'tool').chmod(0)
        path = {'PATH': ':'.join(map(str, folders))}
        self.assertEqual(end_of(self.bide, 'run', 'tool', env=path), (7, FIBERS, ''))
        self.refused(126, 'locked/tool: Permission denied', 'run', 'tool', env={'PATH': str(folders[1])})

    def test_an_empty_part_of_path_is_the_current_folder(self):
        self.copy_of(self.threads, 'here')
        self.assertEqual(end_of(self.bide, 'run', 'here', env={'PATH': '/nowhere:'}, cwd=self.folder), (7, FIBERS, ''))

    def test_what_is_not_there_is_127(self):
        self.refused(127, 'no-such-program: there is none in PATH', 'run', 'no-such-program')
        self.refused(127, '/no/such: No such file', 'run', '/no/such')
        self.refused(127, 'Not a directory', 'run', f'{self.threads}/below')
        self.refused(127, 'name is empty', 'run', '')

    def test_what_cannot_be_executed_is_126(self):
        self.refused(126, 'Permission denied', 'run', self.text('data', 'data', 0o644))
        self.refused(126, 'Is a directory', 'run', self.folder)
        self.refused(126, 'neither ELF nor a script', 'run', self.text('noise', 'a\0b'))
        self.refused(126, 'neither ELF nor a script', 'run', self.text('short', '\x7fELF\0'))

    def test_a_script_whose_interpreter_is_missing_says_which(self):
        self.refused(127, '/no/such/interpreter', 'run', self.text('orphan', '#!/no/such/interpreter\n'))

    def test_a_program_whose_loader_is_missing_says_which(self):
        content = self.threads.read_bytes()
        there, missing = b'/lib64/ld-linux-x86-64.so.2\0', b'/lib64/ld-linux-x86-99.so.2\0'
        self.assertIn(there, content)
        path = self.folder / 'no-loader'
        path.write_bytes(content.replace(there, missing))
        path.chmod(0o755)
        for command in ('run', 'check'):
            self.refused(127, 'no-loader: its loader /lib64/ld-linux-x86-99.so.2 is not there', command, path)


class Refusals(Launcher):
    def test_unknown_words_are_named(self):
        self.refused(125, 'unknown option --colour', 'run', '--colour', self.threads)
        self.refused(125, 'unknown option --colour', 'run', '--colour', '--', self.threads)
        self.refused(125, '--help', 'fly')
        self.refused(125, '--help')
        self.refused(125, 'other', 'check', self.threads, 'other')
        self.refused(127, '--colour', 'run', '--', '--colour')

    def test_bad_values_are_named(self):
        for option, value in (('--workers', '0'), ('--workers', '65'), ('--workers', 'two'), ('--preempt', '-1'),
                              ('--preempt', 'on'), ('--patch', 'maybe'), ('--disable', 'trap,gravity')):
            self.refused(125, f'{option}: .*run --help', 'run', f'{option}={value}', self.threads)

    def test_no_program_is_an_error(self):
        self.refused(125, 'which program', 'run')
        self.refused(125, 'which program', 'run', '--workers', '2', '--')
        self.refused(125, 'program', 'check')

    def test_another_bide_is_not_preloaded_as_well(self):
        other = self.copy_of(self.library, 'libbide-preload.so')
        self.refused(125, f'another bide.*{other}.*LD_PRELOAD', 'run', self.threads, env={'LD_PRELOAD': str(other)})
        both = {'LD_PRELOAD': f'{other}:{self.library}'}
        code, out, err = end_of(self.threads, env=both)
        self.assertEqual((code, out), (7, FIBERS))
        self.assertRegex(err, r'^bide: another libbide-preload\.so serves this program already; .*\n$')

    def test_a_library_that_cannot_be_found_or_named_is_an_error(self):
        alone = self.folder / 'alone'
        alone.mkdir()
        shutil.copy(self.bide, alone)
        blank = self.folder / 'with blank'
        blank.mkdir()
        shutil.copy(self.bide, blank)
        shutil.copy(self.library, blank / self.library.name)
        for folder, says in ((alone, 'neither beside'), (blank, 'blank')):
            code, out, err = end_of(folder / 'bide', 'run', self.threads)
            self.assertEqual((code, out, err.count('\n')), (125, '', 1))
            self.assertIn(says, err)


class Native(Launcher):
    def test_a_static_program(self):
        self.native('statically linked.*link it dynamically', self.static)

    def test_a_kernel_without_the_trap_door(self):
        self.native('BIDE_DISABLE says trap', '--disable', 'trap', self.threads)

    def test_the_library_alone_says_it_too(self):
        code, out, err = end_of(self.threads, env={'LD_PRELOAD': str(self.library), 'BIDE_DISABLE': 'trap'})
        self.assertEqual((code, out), (7, NATIVE))
        self.assertEqual(err, 'bide: this program runs on native threads: BIDE_DISABLE says trap\n')

    def test_the_library_takes_a_bad_number_for_the_standard_and_says_so(self):
        code, out, err = end_of(self.threads, env={'LD_PRELOAD': str(self.library), 'BIDE_WORKERS': 'x'})
        self.assertEqual((code, out), (7, FIBERS))
        self.assertRegex(err, r'^bide: BIDE_WORKERS=x is no number from 1 to \d+; taken as 1\n$')

    def test_the_library_names_words_it_does_not_know_and_serves_all_the_same(self):
        for name, value, says in (('BIDE_PATCH', 'maybe', 'is neither on nor off; taken as on'),
                                  ('BIDE_DISABLE', 'io_uring,gravity,trip', ': gravity is none of close_range, .*, trap')):
            for command in ((self.bide, 'run', self.threads), (self.threads,)):
                preload = {} if command[0] == self.bide else {'LD_PRELOAD': str(self.library)}
                code, out, err = end_of(*command, env=preload | {name: value})
                self.assertEqual((code, out), (7, FIBERS))
                self.assertRegex(err, rf'^bide: {name}={value}:? ?{says}\n$')
        for name, value in (('BIDE_PATCH', 'on'), ('BIDE_PATCH', ''), ('BIDE_PATCH', 'off'), ('BIDE_DISABLE', ',io_uring,'),
                            ('BIDE_DISABLE', '')):
            self.assertEqual(end_of(self.threads, env={'LD_PRELOAD': str(self.library), name: value}), (7, FIBERS, ''))

    def test_a_program_of_another_machine(self):
        # e_machine, as elf(5) has it: 183 is AArch64.
        foreign = self.copy_of(self.threads, 'foreign')
        with open(foreign, 'r+b') as file:
            file.seek(18)
            file.write((183).to_bytes(2, 'little'))
        code, out, err = end_of(self.bide, 'run', foreign)
        self.assertEqual((code, out), (126, ''))
        self.assertRegex(err, r'^bide: .*native threads: it is for AArch64.*\nbide: .*foreign: Exec format error\n$')

    def test_a_32_bit_program_runs_as_ever(self):
        # A header, one part to load, and: exit(7). elf(5): Elf32_Ehdr, Elf32_Phdr.
        path = self.folder / 'small'
        path.write_bytes(b'\x7fELF\1\1\1' + bytes(9) +
                         struct.pack('<HHIIIIIHHHHHH', 2, 3, 1, 0x8048054, 52, 0, 0, 52, 32, 1, 0, 0, 0) +
                         struct.pack('<8I', 1, 0, 0x8048000, 0x8048000, 0x60, 0x60, 5, 0x1000) +
                         b'\xb8\1\0\0\0\xbb\7\0\0\0\xcd\x80')
        path.chmod(0o755)
        code, out, err = end_of(self.bide, 'run', path)
        self.assertEqual(out, '')
        self.assertRegex(err, r'^bide: .*native threads: it is for 32-bit x86')
        # Where the kernel has no 32-bit programs it says so.
        self.assertIn((code, err.count('\n')), ((7, 1), (126, 2)))

    @unittest.skipUnless(os.geteuid() == 0, 'only root can give a file to another user')
    def test_a_program_with_the_ids_of_another_user(self):
        for name, mode in (('set-user-id', 0o4755), ('set-group-id', 0o2755)):
            path = self.copy_of(self.threads, name)
            os.chown(path, NOBODY, NOBODY)
            path.chmod(mode)
            self.native('privileges of its own', path)

    @unittest.skipUnless(os.geteuid() == 0, 'only root can give a file capabilities')
    def test_a_program_with_capabilities(self):
        path = self.copy_of(self.threads, 'capable')
        # capabilities(7): revision 2, effective, CAP_NET_BIND_SERVICE permitted.
        os.setxattr(path, 'security.capability', b'\1\0\0\2' + (1 << 10).to_bytes(4, 'little') + b'\0' * 12)
        self.assertEqual(end_of(self.bide, 'run', path), (7, FIBERS, ''))
        done = end_of(self.copy_of(self.bide, 'bide'), 'check', path, user=NOBODY, group=NOBODY)
        self.assertEqual(done[0], 125)  # it has no library beside it
        self.copy_of(self.library, self.library.name)
        code, out, _ = end_of(self.folder / 'bide', 'check', path, user=NOBODY, group=NOBODY)
        self.assertEqual(code, 1)
        self.assertIn('file capabilities', out)


class Check(Launcher):
    def check(self, program, **how):
        code, out, err = end_of(self.bide, 'check', program, **how)
        self.assertEqual(err, '')
        return code, out

    def test_a_program_that_would_be_served(self):
        code, out = self.check(self.threads)
        self.assertEqual(code, 0)
        self.assertTrue(out.startswith(f'{self.threads}: its threads would be fibers\n'))
        for line in (r'x86-64, dynamically linked', r'io_uring +not imported', r'Syscall User Dispatch: yes',
                     rf'preload +{self.library}'):
            self.assertRegex(out, line)

    def test_one_that_would_not(self):
        for program, says, how in ((self.static, 'statically linked', {}),
                                   (self.threads, 'BIDE_DISABLE says trap', {'env': {'BIDE_DISABLE': 'trap'}})):
            code, out = self.check(program, **how)
            self.assertEqual(code, 1)
            self.assertRegex(out, rf'its threads would be native\n  because +.*{says}')

    def test_what_the_kernel_has_not_is_told(self):
        out = self.check(self.threads, env={'BIDE_DISABLE': 'io_uring,guard_install,fsgsbase'})[1]
        for name in ('io_uring', 'MADV_GUARD_INSTALL', 'FSGSBASE'):
            self.assertRegex(out, rf'{name}: no; ')

    def test_a_script_is_followed_to_its_interpreter(self):
        shell = self.text('by-shell', '#!/bin/sh\n')
        env = self.text('by-env', '#!/usr/bin/env -S A=1 python3 -u\n')
        of_script = self.text('by-script', f'#!{shell}\n')
        static = self.text('by-static', f'#! {self.static} x\n')
        for script, code, says in ((shell, 0, rf'script +{shell}\n  binary +/bin/sh\n'), (env, 0, r'binary +/.*python3\n'),
                                   (of_script, 0, rf'script +{of_script}\n  script +{shell}\n'),
                                   (static, 1, 'statically linked')):
            found = self.check(script)
            self.assertEqual(found[0], code, found[1])
            self.assertRegex(found[1], says)

    def test_rings_are_found_in_the_program_and_in_its_libraries(self):
        (self.folder / 'ring.c').write_text('int io_uring_submit(void*); int f(void) { return io_uring_submit(0); }\n')
        (self.folder / 'ours.c').write_text('int f(void); int main(void) { return f(); }\n')
        (self.folder / 'stub.c').write_text('int io_uring_submit(void* r) { return r != 0; }\n')
        cc = ['cc', '-w', f'-L{self.folder}', f'-Wl,-rpath,{self.folder}']
        for words in (['-shared', '-fPIC', 'stub.c', '-o', 'libstub.so'], ['-shared', '-fPIC', 'ring.c', '-lstub', '-o', 'libring.so'],
                      ['ours.c', '-lring', '-o', 'by-library'], ['ours.c', 'ring.c', '-lstub', '-o', 'by-itself']):
            subprocess.run(cc + words, cwd=self.folder, check=True, timeout=60)
        self.assertRegex(self.check(self.folder / 'by-library')[1], r'io_uring +used by .*/libring\.so;')
        self.assertRegex(self.check(self.folder / 'by-itself')[1], r'io_uring +used by .*/by-itself;')
        os.remove(self.folder / 'libring.so')
        code, out = self.check(self.folder / 'by-library')
        self.assertEqual(code, 1)
        self.assertRegex(out, r'libraries +.*libring\.so.* => not found|libring\.so: cannot open')

    def test_other_preloads_are_named(self):
        other = BUILD / 'lib' / 'libbide.so.0'
        self.assertIn(f'beside {other}', self.check(self.threads, env={'LD_PRELOAD': str(other)})[1])
        foreign = self.copy_of(self.library, 'libbide-preload.so.9')
        code, out = self.check(self.threads, env={'LD_PRELOAD': str(foreign)})
        self.assertEqual(code, 1)
        self.assertIn(f'another bide is preloaded already, {foreign}', out)

    def test_a_damaged_program_does_no_harm(self):
        whole = self.threads.read_bytes()
        for seed in range(60):
            damaged = bytearray(whole[:len(whole) if seed % 3 else 64 + seed * 40])
            for step in range(40):  # in the headers, where offsets and counts are
                damaged[(seed * 7919 + step * 104729) % 1024 % len(damaged)] = (seed * 31 + step * 17) % 256
            damaged[:16] = whole[:16]
            path = self.folder / 'damaged'
            path.write_bytes(damaged)
            path.chmod(0o755)
            self.assertIn(end_of(self.bide, 'check', path)[0], (0, 1, 126, 127))


class Installed(Launcher):
    def test_bide_finds_its_library_where_both_are_installed(self):
        subprocess.run(['meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', self.folder], check=True, timeout=120,
                       stdout=subprocess.DEVNULL)
        installed = next(path for path in self.folder.rglob('bide') if path.is_file())
        self.assertEqual(installed.parent.name, 'bin')
        code, out, _ = end_of(installed, 'check', self.threads)
        self.assertEqual(code, 0)
        self.assertRegex(out, rf'preload +{self.folder}/.*/libbide-preload\.so\.0\n')
        self.assertEqual(end_of(installed, 'run', self.threads), (7, FIBERS, ''))

    def test_it_tells_its_version_and_help(self):
        self.assertRegex(end_of(self.bide, '--version')[1], r'^bide \d+\.\d+\.\d+\n$')
        for words in (['--help'], ['run', '--help'], ['check', '--help']):
            code, out, err = end_of(self.bide, *words)
            self.assertEqual((code, err), (0, ''))
            self.assertTrue(re.search(r'usage: bide', out))


if __name__ == '__main__':
    BUILD = Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
