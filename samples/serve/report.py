#!/usr/bin/python3
"""Sets what several runs of serve-load printed side by side, as a table and as a plot.

usage: report.py PLOT.svg RESULT.json...

Runs of one kind with as many connections are one row; its figures are their medians. Exit status 1 if an answer was wrong.
"""
import json
import statistics
import sys
from pathlib import Path

KINDS = {'native': 'native threads', 'fibers': 'under bide run'}
# key, title, unit on the plot, digits behind the point
FIGURES = [('requests_per_second', 'requests/s', 'requests/s', 0),
           ('cpu_us_per_request', 'CPU us/request', 'CPU per request, µs', 1),
           ('kernel_threads', 'kernel threads', 'kernel threads', 0),
           ('memory_mib', 'memory MiB', 'memory with kernel stacks, MiB', 1),
           ('p99_ms', 'slowest 1% ms', None, 1)]


def medians(runs):
    """{(connections, kind): {key: median}}, and how many answers were wrong."""
    rows = {}
    for run in runs:
        rows.setdefault((run['connections'], run['with']), []).append(run)
    return {where: {key: statistics.median(run[key] for run in same) for key, *_ in FIGURES} for where, same in rows.items()}


def figure(value, digits):
    return f'{value:,.{digits}f}'


def print_table(rows, connections, runs):
    line = '  {:>11}  {:15}' + '{:>16}' * len(FIGURES)
    print(line.format('connections', '', *(title for _, title, _, _ in FIGURES)))
    for count in connections:
        native, fibers = rows[count, 'native'], rows[count, 'fibers']
        for row, where, title in ((native, f'{count:,}', KINDS['native']), (fibers, '', KINDS['fibers'])):
            print(line.format(where, title, *(figure(row[key], digits) for key, _, _, digits in FIGURES)))
        print(line.format('', 'ratio', *(f'{fibers[key] / native[key]:.3f}' if native[key] else '' for key, *_ in FIGURES)))
        print()
    print(f'  {sum(run["requests"] for run in runs):,} answers compared with their files to the byte, '
          f'{sum(run["wrong"] for run in runs)} wrong')


def plot(rows, connections, path, title):
    import matplotlib
    matplotlib.use('svg')
    from matplotlib import pyplot
    pyplot.rcParams.update({'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False, 'svg.hashsalt': 'bide'})
    picture, panels = pyplot.subplots(2, 2, figsize=(10, 6.4), layout='constrained')
    picture.suptitle(title, fontsize=11, x=0.01, ha='left')
    colours = {'native': '#9a9a9a', 'fibers': '#1f6fb4'}
    width = 0.4
    drawn = [(key, unit, digits) for key, _, unit, digits in FIGURES if unit]
    for panel, (key, unit, digits) in zip(panels.flat, drawn):
        for side, kind in ((-1, 'native'), (1, 'fibers')):
            heights = [rows[count, kind][key] for count in connections]
            bars = panel.bar([at + side * width / 2 for at in range(len(connections))], heights, width * 0.95,
                             color=colours[kind], label=KINDS[kind])
            panel.bar_label(bars, [figure(height, digits if height < 100 else 0) for height in heights], fontsize=8, padding=2)
        panel.set_title(unit, loc='left')
        panel.set_xticks(range(len(connections)), [f'{count:,}' for count in connections])
        panel.set_xlabel('connections')
        panel.margins(y=0.15)
        if key == 'kernel_threads':
            panel.set_yscale('log')
    handles, labels = panels.flat[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc='upper right', ncols=2, frameon=False)
    picture.savefig(path, metadata={'Date': None})


def main():
    path, *files = sys.argv[1:]
    runs = [json.loads(Path(name).read_text()) for name in files]
    rows = medians(runs)
    connections = sorted({count for count, _ in rows})
    print_table(rows, connections, runs)
    plot(rows, connections, path, 'microsocks, a proxy with a thread for each connection, before nginx')
    return 1 if any(run['wrong'] for run in runs) else 0


if __name__ == '__main__':
    sys.exit(main())
