"""Crawls the site in every way, at equal and at its best concurrency, and sets the costs side by side: a table and a plot.

Called by samples/crawl/run, which builds what this runs. See run --help.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
EQUAL = 64
NOTES = {'threads': 1.27, 'processes': 1.20}  # fibers over these, as the project's notes have it
WAYS = {  # name -> options of the program, concurrencies to look for the best in
    'processes': (['--by', 'processes'], [64, 128, 256, 512]),
    'threads': (['--by', 'threads'], [64, 128, 256, 512, 1024]),
    'fibers': (['--by', 'fibers'], [64, 128, 256, 512, 1024]),
    'fibers, 2 workers': (['--by', 'fibers', '--workers', '2'], [64, 128, 256, 512, 1024]),
    'Python threads': (['--by', 'threads'], [16, 32, 64, 128]),
    'Python asyncio': (['--by', 'asyncio'], [32, 64, 128, 256]),
}


class Failed(Exception):
    pass


class Watch(threading.Thread):
    """The most kernel threads that a process and its children had, looked at now and then."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.most, self.over = pid, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            try:
                status = Path(f'/proc/{self.pid}/status').read_text()
                threads = int(next(line.split()[1] for line in status.splitlines() if line.startswith('Threads:')))
                children = Path(f'/proc/{self.pid}/task/{self.pid}/children').read_text().split()
            except (OSError, StopIteration):
                continue
            self.most = max(self.most, threads + len(children))


class Bench:
    def __init__(self, how, folder):
        self.how, self.folder, self.running = how, folder, []

    def start(self, *words, **more):
        process = subprocess.Popen([str(word) for word in words], text=True, **more)
        self.running.append(process)
        return process

    def end(self):
        for process in self.running:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()

    def crawl(self, way, concurrency):
        """One run from nothing, against a site of its own; every comment checked."""
        built = Path(self.how.build) / 'samples' / 'crawl'
        file = Path(self.folder) / 'crawl.db'
        # In a session of its own, so that Ctrl-C ends the crawler first and the site after it.
        site = self.start(built / 'crawl-site', '--comments', self.how.comments, stdout=subprocess.PIPE, start_new_session=True)
        address = site.stdout.readline().strip()
        if not address:
            raise Failed('the site does not start')
        program = ['/usr/bin/python3', '-B', HERE / 'crawl.py'] if way.startswith('Python') else [built / 'crawl']
        with open(Path(self.folder) / 'errors', 'w+', encoding='utf-8') as errors:
            crawler = self.start(*program, *WAYS[way][0], '--concurrency', concurrency, '--site', address, '--file', file,
                                 stdout=subprocess.PIPE, stderr=None if sys.stderr.isatty() else errors)
            watch = Watch(crawler.pid)
            watch.start()
            said = crawler.communicate(timeout=300)[0]
            watch.over.set()
            watch.join()
            if crawler.returncode not in (0, 1):
                errors.seek(0)
                raise Failed(f'{way} at {concurrency} ended with {crawler.returncode}: {errors.read()[-500:]}')
        site.terminate()
        served = json.loads(site.communicate(timeout=30)[0].splitlines()[-1])
        check = self.start(built / 'crawl-check', file, '--comments', self.how.comments, stdout=subprocess.PIPE)
        checked = check.communicate(timeout=60)[0].strip()
        for path in Path(self.folder).glob('crawl.db*'):
            path.unlink()
        result = json.loads(said)
        result['way'], result['threads'], result['checked'] = way, watch.most, checked
        result['errors'] = result['failed'] + result['doubles'] + (check.returncode != 0)
        result['site_cpu_seconds'] = served['cpu_seconds']
        print(f'  {way:<18}{concurrency:>5}{result["seconds"]:>9.2f} s{result["cpu_seconds"]:>8.2f} s CPU'
              f'{result["peak_memory_kib"] / 1024:>8.0f} MiB  {checked if result["errors"] else "all there, once"}', flush=True)
        return result


def middle(runs):
    """Of several runs one: the medians."""
    return {key: median(run[key] for run in runs) if isinstance(value, (int, float)) else value
            for key, value in runs[0].items()}


def rows(title, results):
    """Lines of the table: each way beside threads."""
    print(f'\n  {title:<22}{"at once":>8}{"wall, s":>9}{"pages/s":>9}{"CPU, s":>8}{"us/page":>9}{"MiB":>6}{"threads":>9}'
          f'{"errors":>8}{"site CPU":>10}{"x threads":>11}')
    for way, run in results.items():
        beside = results['threads']['seconds'] / run['seconds'] if 'threads' in results else 0
        print(f'  {way:<22}{run["concurrency"]:>8.0f}{run["seconds"]:>9.2f}{run["pages"] / run["seconds"]:>9.0f}'
              f'{run["cpu_seconds"]:>8.2f}{run["cpu_seconds"] / run["pages"] * 1e6:>9.0f}{run["peak_memory_kib"] / 1024:>6.0f}'
              f'{run["threads"]:>9.0f}{run["errors"]:>8.0f}{run["site_cpu_seconds"]:>10.2f}{beside:>11.2f}')


def goals(equal, best):
    """What was aimed at, and what came of it."""
    fibers = min((best[way] for way in best if way.startswith('fibers')), key=lambda run: run['seconds'])
    print()
    for other, goal in NOTES.items():
        if other in best:
            print(f'  best fibers over best {other}: {best[other]["seconds"] / fibers["seconds"]:.2f} times as fast '
                  f'(the notes: {goal:.2f})')
    if 'Python asyncio' in best:
        print(f'  CPU per page of asyncio over fibers, each at its best: '
              f'{best["Python asyncio"]["cpu_seconds"] / fibers["cpu_seconds"]:.1f} (the goal: 5)')
    if 'threads' in equal and 'fibers' in equal:
        print(f'  at {EQUAL} each, threads over fibers: wall {equal["threads"]["seconds"] / equal["fibers"]["seconds"]:.2f}, '
              f'CPU {equal["threads"]["cpu_seconds"] / equal["fibers"]["cpu_seconds"]:.2f} (the goal: 1 and more)')


def plot(found, best, out):
    """Wall time by concurrency, and CPU per page at the best, by gnuplot."""
    script = ['set terminal pngcairo size 1200,500 font "sans,11"', f'set output "{out}"', 'set multiplot layout 1,2',
              'set logscale x 2', 'set xlabel "pages at the same time"', 'set ylabel "wall time, s"', 'set yrange [0:*]',
              'set title "The crawl, by concurrency"', 'set key top right']
    for number, (way, runs) in enumerate(found.items()):
        script.append(f'$way{number} << END')
        script += [f'{run["concurrency"]} {run["seconds"]}' for run in sorted(runs, key=lambda run: run['concurrency'])]
        script.append('END')
    script.append('plot ' + ', '.join(f'$way{n} with linespoints lw 2 title "{way}"' for n, way in enumerate(found)))
    script += ['$bars << END'] + [f'"{way}" {run["cpu_seconds"] / run["pages"] * 1e6}' for way, run in best.items()] + ['END']
    script += ['unset logscale x', 'set title "CPU per page, at its best concurrency"', 'set ylabel "us"', 'unset xlabel',
               'set style fill solid 0.6', 'set boxwidth 0.6', 'set xtics rotate by -25',
               'plot $bars using 0:2:xtic(1) with boxes notitle', 'unset multiplot']
    subprocess.run(['gnuplot'], input='\n'.join(script), text=True, check=True, timeout=60)
    print(f'\n  plot: {out}')


def compare(bench, how):
    ways = how.ways or list(WAYS)
    print(f'==> Looking for the best concurrency of each, up to {how.memory} MiB', flush=True)
    found, best_at = {}, {}
    for way in ways:
        found[way] = [bench.crawl(way, concurrency) for concurrency in WAYS[way][1] if not how.quick or concurrency in (64, 256)]
        fitting = [run for run in found[way] if run['peak_memory_kib'] <= how.memory * 1024]
        best_at[way] = min(fitting, key=lambda run: run['seconds'])['concurrency']
    print(f'==> {how.rounds} rounds in turn, each at {EQUAL} and at its best', flush=True)
    runs = {}
    for _ in range(how.rounds):
        for way in ways:
            for concurrency in sorted({EQUAL, best_at[way]}):
                runs.setdefault((way, concurrency), []).append(bench.crawl(way, concurrency))
    equal = {way: middle(runs[way, EQUAL]) for way in ways}
    best = {way: middle(runs[way, best_at[way]]) for way in ways}
    rows(f'at {EQUAL}', equal)
    rows('at its best', best)
    goals(equal, best)
    plot(found, best, how.plot)
    return all(run['errors'] == 0 for each in [*runs.values(), *found.values()] for run in each)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument('--build', required=True)
    options.add_argument('--rounds', type=int, default=3)
    options.add_argument('--comments', type=int, default=332830)
    options.add_argument('--memory', type=int, default=2048)
    options.add_argument('--plot', default='crawl.png')
    options.add_argument('--quick', action='store_true')
    options.add_argument('ways', nargs='*', choices=[*WAYS, []])
    how = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='crawl-') as folder:
        bench = Bench(how, folder)
        try:
            right = compare(bench, how)
        except KeyboardInterrupt:
            return 130
        except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
            print(f'samples/crawl/run: {error}', file=sys.stderr)
            return 1
        finally:
            bench.end()
    print(f'  {os.cpu_count()} cores, which the site and the crawler share; {(time.monotonic() - start) / 60:.1f} min in all')
    return 0 if right else 1


if __name__ == '__main__':
    sys.exit(main())
