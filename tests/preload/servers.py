"""Two servers of Debian's with a thread for each connection, and clients who check what they answer.

microsocks passes on what nginx serves; http.server serves the same files. A client connects, makes three requests and
closes; every answer is compared to the file.
"""
import os
import random
import re
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

FILES = {'small': 1024, 'middle': 5000, 'large': 100_000}  # bytes


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def make_files(folder):
    files = {}
    for name, size in FILES.items():
        files[name] = random.Random(name).randbytes(size)
        (folder / name).write_bytes(files[name])
    return files


class Server:
    """A server in a process group of its own; natively, or with a library preloaded."""

    def __init__(self, command, port, library=None, workers=1):
        self.port = port
        environment = {k: v for k, v in os.environ.items() if k not in ('LD_PRELOAD', 'BIDE_WORKERS')}
        if library:
            environment |= {'LD_PRELOAD': library, 'BIDE_WORKERS': str(workers)}
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True,
                                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        for _ in range(200):
            try:
                return socket.create_connection(('127.0.0.1', port), 1).close()
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        self.end()
        raise RuntimeError(f'{command[0]} does not listen on port {port}')

    def numbers(self):
        """What must not grow: descriptors, kernel threads, and memory in KiB, resident and mapped."""
        status = Path(f'/proc/{self.process.pid}/status').read_text()
        field = {name: int(re.search(rf'^{name}:\s+(\d+)', status, re.M)[1]) for name in ('Threads', 'VmRSS', 'VmSize')}
        return {'fds': len(os.listdir(f'/proc/{self.process.pid}/fd')), 'threads': field['Threads'],
                'resident': field['VmRSS'], 'mapped': field['VmSize']}

    def end(self, number=signal.SIGTERM):
        """Returns how it ended; 'hangs' if the signal did not end it."""
        try:
            self.process.send_signal(number)
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            return 'hangs'
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()


def start_nginx(folder):
    port = free_port()
    temporary = ' '.join(f'{kind}_temp_path {folder}/{kind};' for kind in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
    (folder / 'nginx.conf').write_text(f'''
        daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
        events {{ worker_connections 4096; }}
        http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port} backlog=1024; root {folder}/files; }} }}''')
    return Server(['/usr/sbin/nginx', '-c', f'{folder}/nginx.conf', '-p', str(folder)], port)


def start_microsocks(folder, library=None, workers=1):
    port = free_port()
    return Server(['microsocks', '-i', '127.0.0.1', '-p', str(port)], port, library, workers)


def start_http_server(folder, library=None, workers=1):
    port = free_port()
    return Server(['/usr/bin/python3', '-m', 'http.server', '-b', '127.0.0.1', '-d', f'{folder}/files', '-p', 'HTTP/1.1',
                   str(port)], port, library, workers)


def read_exactly(stream, size):
    data = stream.read(size)
    if len(data) != size:
        raise EOFError(f'{len(data)} bytes of {size}')
    return data


def visit(port, files, through=None):
    """Connects, asks for each of the files, closes. `through`: the port a SOCKS server is asked to connect to."""
    with socket.create_connection(('127.0.0.1', port), 30) as s, s.makefile('rb') as stream:
        if through:
            s.sendall(b'\5\1\0')
            if read_exactly(stream, 2) != b'\5\0':
                raise ValueError('no SOCKS server')
            s.sendall(b'\5\1\0\1' + socket.inet_aton('127.0.0.1') + struct.pack('>H', through))
            if read_exactly(stream, 10)[1] != 0:
                raise ValueError('the SOCKS server could not connect')
        for name, content in files.items():
            s.sendall(f'GET /{name} HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode())
            status = stream.readline()
            if status.split(b' ')[1:2] != [b'200']:
                raise ValueError(f'answered {status!r}')
            length = -1
            while (line := stream.readline()) not in (b'\r\n', b''):
                if line.lower().startswith(b'content-length:'):
                    length = int(line.split(b':')[1])
            if read_exactly(stream, length) != content:
                raise ValueError(f'{name} came with another content')
