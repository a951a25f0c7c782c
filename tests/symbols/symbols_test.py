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

# The calls that have a door, and how glibc may spell them.
CALLS = ('read readv recv recvfrom recvmsg recvmmsg write writev send sendto sendmsg sendmmsg accept accept4 connect '
         'poll ppoll select pselect epoll_wait epoll_pwait epoll_pwait2 sleep usleep nanosleep clock_nanosleep close '
         'dup2 dup3 close_range shutdown getaddrinfo gethostbyname gethostbyname2 gethostbyname_r gethostbyname2_r '
         'gethostbyaddr gethostbyaddr_r getnameinfo preadv2 pwritev2 preadv64v2 pwritev64v2 pread pwrite preadv pwritev '
         'open openat open_2 openat_2 open64_2 openat64_2 creat flock lockf fsync fdatasync syncfs sync sync_file_range '
         'msync fallocate posix_fallocate truncate ftruncate readahead copy_file_range sendfile splice tee vmsplice '
         'getrandom getentropy arc4random arc4random_buf arc4random_uniform semop semtimedop msgsnd msgrcv mq_send '
         'mq_receive mq_timedsend mq_timedreceive mq_close eventfd_read eventfd_write wait waitpid wait3 wait4 waitid '
         'pause sigsuspend sigpause xpg_sigpause sigwait sigwaitinfo sigtimedwait tcdrain tcsendbreak tcsetattr '
         'sched_yield pthread_yield thrd_yield thrd_sleep syscall system popen pclose wordexp syslog vsyslog getpass '
         'sem_wait sem_timedwait sem_clockwait sem_open pthread_join pthread_timedjoin_np pthread_clockjoin_np thrd_join '
         'pthread_barrier_wait pthread_mutex_lock pthread_mutex_timedlock pthread_mutex_clocklock mtx_lock mtx_timedlock '
         'pthread_cond_wait pthread_cond_timedwait pthread_cond_clockwait cnd_wait cnd_timedwait pthread_once call_once '
         'pthread_spin_lock flockfile vfork posix_spawn posix_spawnp aio_suspend lio_listio gai_suspend fread fwrite '
         'fgets fputs fgetc fputc getc putc getchar putchar getline getdelim puts printf fprintf vfprintf vprintf '
         'dprintf vdprintf scanf fscanf vfscanf vscanf fflush fopen freopen ').split()
# Families with a door for each way to ask, or none: accounts, resolvers, locks for reading and writing, remote shells.
FAMILIES = (r'get(?:pw|gr|sp|sg|serv|proto|net|host|alias|rpc)(?:nam|uid|gid|ent|byname|bynumber|byport|byaddr|grent)(?:_r)?|getgrouplist|'
            r'initgroups|innetgr|setnetgrent|res_n?(?:query|search|querydomain|send)|'
            r'pthread_rwlock_(?:timed|clock)?(?:rd|wr)lock|i?ruserok(?:_af)?|r(?:cmd|exec)(?:_af)?')
SPELLING = re.compile(r'^_{0,2}(?:libc_)?(?:' + '|'.join(CALLS) + '|' + FAMILIES + r')(?:64)?(?:_time64)?(?:_chk)?$')

# Of glibc.txt: they answer at once, or, as execveat, don't return.
NEVER_WAITS = ('execveat timespec_getres pidfd_open pidfd_getfd pidfd_send_signal process_madvise process_mrelease fsopen '
               'fsmount move_mount fsconfig fspick open_tree mount_setattr pidfd_getpid sched_setattr sched_getattr '
               'pthread_gettid_np')


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


class Glibc(unittest.TestCase):
    def setUp(self):
        path = run('cc', '-print-file-name=libc.so.6').strip()
        self.public = set()
        for line in run('nm', '-D', '--defined-only', '--with-symbol-versions', path).splitlines():
            name, _, version = line.split()[-1].partition('@')
            if version and 'GLIBC_PRIVATE' not in version:
                self.public.add(name)

    def test_every_offered_name_is_one_of_glibcs(self):
        plain = [line for line in listed('libbide-hook.txt') if line[0] not in '+-']
        later = {name for line in listed('glibc.txt') if line.startswith('since ') for name in line.split(': ')[1].split()}
        self.assertEqual([name for name in plain if name not in self.public | later], [])
        beyond = [re.match(r'\+ ([^:]+): \w', line) for line in listed('libbide-hook.txt') if line[0] == '+']
        self.assertNotIn(None, beyond, 'a name that glibc lacks needs its reason')
        self.assertEqual([m[1] for m in beyond if m[1] in self.public], [])

    def test_every_spelling_that_glibc_has_is_offered_or_left_alone_for_a_reason(self):
        known = {name for line in listed('libbide-hook.txt') for name in re.sub(r'^[+-] ([^:]+):.*', r'\1', line).split()}
        self.assertEqual(sorted(name for name in self.public if SPELLING.match(name) and name not in known), [])

    def test_what_other_versions_have_is_offered_or_left_alone_for_a_reason(self):
        known = {name for line in listed('libbide-hook.txt') for name in re.sub(r'^[+-] ([^:]+):.*', r'\1', line).split()}
        never_waits = set(NEVER_WAITS.split())
        versions = [re.match(r'(since|moved) 2\.(\d+): (.+)', line) for line in listed('glibc.txt')]
        self.assertNotIn(None, versions)
        names = {name for m in versions for name in m[3].split()}
        self.assertEqual(sorted(names - known - never_waits), [])
        self.assertEqual(sorted(never_waits & known), [])
        # The installed version agrees with the list.
        installed = int(re.search(r'release version 2\.(\d+)', run(run('cc', '-print-file-name=libc.so.6').strip()))[1])
        late = {name for m in versions if m[1] == 'since' and int(m[2]) > installed for name in m[3].split()}
        there = {name for m in versions if m[1] == 'since' and int(m[2]) <= installed for name in m[3].split()}
        self.assertEqual((sorted(late & self.public), sorted(there - self.public)), ([], []))

    def test_the_pattern_of_spellings_finds_them(self):
        for name in ('__read_chk', '__poll_chk', 'read', '__close', '__ppoll_chk'):
            self.assertIn(name, self.public)
            self.assertRegex(name, SPELLING)


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
