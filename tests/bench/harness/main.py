"""The command line of tests/bench/run, once everything is built."""

import argparse
import os
import signal
import sys
from pathlib import Path

import report
import rounds
from suites import SUITES
from targets import FIGURES, ROWS

MILLION_NEEDS_KIB = 6 * 1024 * 1024


def row_list(text):
    rows = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            raise argparse.ArgumentTypeError(f"{text!r} is no row, nor a range of them")
        rows |= set(range(int(first), int(last or first) + 1))
    if not rows & set(ROWS):
        raise argparse.ArgumentTypeError(f"no row {text}; there are {', '.join(map(str, ROWS))}")
    return rows


def parse():
    parser = argparse.ArgumentParser(
        prog="tests/bench/run", allow_abbrev=False, usage="tests/bench/run [--install] [options] [ROW ...]",
        description="Measures bide against bare jumps, a bare epoll loop, libev, POSIX threads and Boost.Fiber.",
        epilog="Rows are numbers or ranges: 1-3 9. Builds what it needs first; --install lets it get missing Debian "
               "packages with apt-get, as it does anyway when run by root.")
    parser.add_argument("rows", nargs="*", type=row_list, metavar="ROW", help="the rows to measure (all)")
    parser.add_argument("--skip", type=row_list, action="append", default=[], metavar="ROWS", help="rows to leave out")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and not what is big: within a minute")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="rounds of everything that repeats")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures (build directory)")
    parser.add_argument("--list", action="store_true", help="print the figures and their lines, measure nothing")
    parser.add_argument("--samples", action="store_true", help="print what was measured too, not only the figures")
    parser.add_argument("--check", action="store_true", help="end with status 1 if a line is missed")
    parser.add_argument("--build-dir", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def available_kib():
    with open("/proc/meminfo", encoding="utf-8") as info:
        return next(int(text.split()[1]) for text in info if text.startswith("MemAvailable:"))


def main():
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what was started, as Ctrl-C does
    rows = set().union(*args.rows) if args.rows else set(ROWS)
    rows -= set().union(*args.skip)
    figures = [figure for figure in FIGURES if figure.row in rows]
    if args.list:
        report.print_lines(figures)
        return 0
    if 5 in rows and not args.quick and available_kib() < MILLION_NEEDS_KIB:
        print("row 5 is left out: it needs 6 GiB of free memory", file=sys.stderr)
        rows.discard(5)
    if os.cpu_count() == 1:
        print("one CPU only: the servers of rows 11, 18 and 20 share it with their client", file=sys.stderr)
    samples = rounds.measure(SUITES, rows, args.quick, args.rounds, (args.build_dir / "tests" / "bench").absolute())
    judged = report.judge(figures, samples)
    print()
    report.print_table(judged, samples)
    if args.samples:
        print()
        report.print_samples(samples)
    where = args.json or args.build_dir / "bench.json"
    report.write_json(where, judged, samples)
    print(f"Written to {where}")
    if samples.failures:
        return 2
    return 1 if args.check and any(entry["verdict"] == "MISSED" for entry in judged) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
