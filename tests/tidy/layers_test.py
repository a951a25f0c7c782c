"""Includes go down only, and each thing that must have one place has one."""
import re
import unittest

import project

# From the bottom. What is not named here, lib/ has no business having.
LAYERS = ['asm', 'base', 'sys', 'context', 'fiber', 'io', 'sync', 'diag', 'sched', 'task', 'call', 'door', 'entry', 'launcher']


def layer_of(path):
    """The layer of a path below the project's root, or None."""
    parts = path.split('/')
    if parts[0] == 'asm':
        return 'asm'
    return parts[1] if parts[0] == 'lib' and len(parts) > 2 else None


def who(wanted, *folders, kinds=project.CODE):
    return sorted({project.name(path) for path in project.files(*folders, kinds=kinds) if wanted(path)})


class Layers(unittest.TestCase):
    def test_every_folder_of_lib_is_a_layer(self):
        folders = {layer_of(project.name(p)) for p in project.files('lib', kinds=project.CODE)} - {None}
        self.assertLessEqual(folders, set(LAYERS))

    def test_includes_go_down_only(self):
        wrong = []
        for path in project.files('asm', 'lib', kinds=project.CODE):
            mine = layer_of(project.name(path))
            for number, included, _ in project.includes(path):
                if not included.startswith(('asm/', 'lib/')):
                    continue
                theirs = layer_of(included)
                if theirs not in LAYERS or LAYERS.index(theirs) > LAYERS.index(mine):
                    wrong.append(f'{project.name(path)}:{number} includes {included}')
        self.assertEqual(wrong, [])

    def test_inner_headers_are_named_from_the_root(self):
        wrong = [f'{project.name(path)}:{number} "{included}"'
                 for path in project.files('asm', 'lib', kinds=project.CODE)
                 for number, included, how in project.includes(path)
                 if how == '"' and not included.startswith(('asm/', 'lib/'))]
        self.assertEqual(wrong, [])

    def test_public_headers_include_nothing_of_the_library(self):
        wrong = [f'{project.name(path)}:{number} {included}'
                 for path in project.files('include')
                 for number, included, how in project.includes(path)
                 if how == '"' or included.startswith(('lib/', 'asm/')) or included.startswith(('boost/', 'ev'))]
        self.assertEqual(wrong, [])

    def test_the_doors_know_the_calls_only_by_their_border(self):
        wrong = [f'{project.name(path)}:{number} {included}'
                 for path in project.files('lib/door', kinds=project.CODE)
                 for number, included, _ in project.includes(path)
                 if layer_of(included) == 'call' and included not in ('lib/call/border.hpp', 'lib/call/serve.hpp')]
        self.assertEqual(wrong, [])


class Seams(unittest.TestCase):
    def test_one_file_includes_libev(self):
        found = who(lambda p: any(i in ('ev.h', 'ev++.h') for _, i, _ in project.includes(p)), 'lib', 'asm', 'include')
        self.assertEqual(len(found), 1, found)

    def test_one_file_includes_boost_context(self):
        found = who(lambda p: any(i.startswith('boost/context') for _, i, _ in project.includes(p)),
                    'lib', 'asm', 'include')
        self.assertEqual(len(found), 1, found)

    def test_only_intrusive_is_taken_of_the_rest_of_boost(self):
        found = who(lambda p: any(i.startswith('boost/') and not i.startswith(('boost/context', 'boost/intrusive'))
                                  for _, i, _ in project.includes(p)), 'lib', 'asm', 'include')
        self.assertEqual(found, [])

    def test_one_file_holds_the_syscall_instruction(self):
        instruction = re.compile(r'^\s*(syscall|sysenter|int\s+\$0x80)\b', re.M)
        in_asm = who(lambda p: instruction.search(project.code_only(p.read_text())), 'asm', 'lib', 'include',
                     kinds={'.S', '.s'})
        self.assertEqual(in_asm, ['asm/gate.S'])
        inline = re.compile(r'\basm\b(?:\s+volatile)?\s*\([^;]*"[^"]*\b(syscall|sysenter)\b')
        self.assertEqual(who(lambda p: inline.search(p.read_text()), 'lib', 'include'), [])

    def test_kernel_calls_go_through_the_gate(self):
        # libc's syscall(2) would come back through a door one day.
        by_libc = re.compile(r'(?<![\w:])(?:::)?syscall\s*\(')
        self.assertEqual(who(lambda p: by_libc.search(project.code_only(p.read_text())), 'lib'), [])


if __name__ == '__main__':
    unittest.main(verbosity=2)
