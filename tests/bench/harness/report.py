"""The table on stdout and the JSON beside it."""

import json
import os
import platform
import statistics
import subprocess


def number(value, unit=""):
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if unit == "ns":
        return f"{value:.1f}"
    return f"{value:.4f}" if 0 < abs(value) < 0.1 else f"{value:.2f}"


def line(figure, wanted):
    if wanted is None:
        return "-"
    sign = "=" if figure.exact else ">=" if figure.at_least else "<="
    return f"{sign} {number(wanted, figure.unit)}"


def verdict(figure, value):
    """Says which lines are kept: "reached", "met", "MISSED"; "short" where only something to reach is not."""
    kept = {name: wanted is not None and figure.keeps(value, wanted)
            for name, wanted in (("must", figure.must), ("reach", figure.reach))}
    if figure.must is not None and not kept["must"]:
        return "MISSED"
    if figure.reach is not None:
        return "reached" if kept["reach"] else "met" if figure.must is not None else "short"
    return "met" if figure.must is not None else ""


def judge(figures, samples):
    """Returns a row of the table, as a dict, for each figure that was measured."""
    judged = []
    for figure in figures:
        rounds = [figure.scale * value for value in samples.ratios(figure.sample, figure.against)]
        if not rounds:
            continue
        value = statistics.median(rounds)
        judged.append({
            "row": figure.row, "what": figure.what.strip(), "sample": figure.sample, "against": figure.against,
            "unit": figure.unit, "value": value, "low": min(rounds), "high": max(rounds), "rounds": len(rounds),
            "must": figure.must, "reach": figure.reach, "verdict": verdict(figure, value), "figure": figure})
    return judged


def print_lines(figures):
    form = "{:>3}  {:<43} {:<4} {:>12} {:>12}"
    print(form.format("row", "figure", "", "must", "reach"))
    for figure in figures:
        print(form.format(figure.row, figure.what, figure.unit, line(figure, figure.must), line(figure, figure.reach)))


def print_table(judged, samples):
    form = "{:>3}  {:<43} {:>10} {:<4} {:>19}  {:>12} {:>12}  {}"
    print(form.format("row", "figure", "median", "", "lowest - highest", "must", "reach", ""))
    last = None
    for entry in judged:
        figure = entry["figure"]
        low, middle, high = (number(entry[key], figure.unit) for key in ("low", "value", "high"))
        spread = "" if entry["rounds"] == 1 else f"{low} - {high}"
        row = figure.row if figure.row != last else ""
        last = figure.row
        print(form.format(row, figure.what, middle, figure.unit, spread, line(figure, figure.must),
                          line(figure, figure.reach), entry["verdict"]).rstrip())
    missed = sum(entry["verdict"] == "MISSED" for entry in judged)
    drawn = sum(entry["must"] is not None for entry in judged)
    print(f"\n{drawn - missed} of {drawn} lines kept." + (f" {missed} MISSED." if missed else ""))
    for failure in samples.failures:
        print(f"FAILED: {failure}")
    for reason in samples.left_out:
        print(f"LEFT OUT: {reason}")


def print_samples(samples):
    form = "{:<38} {:>14} {:>14} {:>14}"
    print(form.format("sample", "median", "lowest", "highest"))
    for name in sorted(samples.values):
        values = samples.ratios(name)
        print(form.format(name, number(statistics.median(values)), number(min(values)), number(max(values))))


def version_of(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        models = [text.split(":", 1)[1].strip() for text in info if text.startswith("model name")]
    packages = ("libboost-fiber-dev", "libev4", "libc6", "g++", "microsocks", "tinyproxy", "civetweb", "nginx")
    return {
        "commit": version_of("git", "-C", os.path.dirname(__file__), "rev-parse", "HEAD"),
        "cpu": models[0] if models else platform.machine(), "cpus": os.cpu_count(), "kernel": platform.release(),
        "load": os.getloadavg(),
        "packages": {name: version_of("dpkg-query", "-W", "-f", "${Version}\n", name) for name in packages}}


def write_json(path, judged, samples):
    entries = [{key: value for key, value in entry.items() if key != "figure"} for entry in judged]
    with open(path, "w", encoding="utf-8") as out:
        json.dump({"machine": machine(), "figures": entries, "failures": samples.failures,
                   "left_out": samples.left_out, "samples": samples.values}, out, indent=1)
        out.write("\n")
