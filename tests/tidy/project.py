"""The project's own files, for the tests that look at them."""
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = {'.cpp', '.hpp', '.c', '.h', '.S'}

_NOT_OURS = {'.git', 'build', 'out', '__pycache__'}


def files(*folders, kinds=None):
    """Every file under these folders of the project, or all of it."""
    for folder in folders or ['.']:
        for path in sorted((ROOT / folder).rglob('*')):
            inside = path.relative_to(ROOT).parts
            if not path.is_file() or any(part in _NOT_OURS or part.startswith('build') for part in inside[:-1]):
                continue
            if kinds is None or path.suffix in kinds:
                yield path


def name(path):
    return str(path.relative_to(ROOT))


def lines(path):
    return path.read_text(encoding='utf-8').splitlines()


def includes(path):
    """What a file includes: (line number, name, '"' or '<')."""
    for number, line in enumerate(lines(path), 1):
        match = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if match:
            yield number, match[2], match[1]


def code_only(text):
    """The text with comments and string literals blanked, line numbers kept."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r'[^\n]', ' ', m[0]), text, flags=re.S)


def tracked():
    """What is in the repository; every file where it is not a git checkout."""
    done = subprocess.run(['git', '-C', str(ROOT), 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
                          capture_output=True, check=False)
    if done.returncode != 0:
        return list(files())
    return [ROOT / p for p in done.stdout.decode().split('\0') if p and (ROOT / p).is_file()]
