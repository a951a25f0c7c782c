"""Runs suites: in every round each subject once, so that a drift of the machine meets all of them alike."""

import sys
import time

from subjects import Failed, LeftOut


class Samples:
    """What was measured: for each sample name its values by round, with None for a round that failed."""

    def __init__(self):
        self.values = {}
        self.failures = []
        self.left_out = []

    def add(self, at, samples):
        for name, value in samples.items():
            values = self.values.setdefault(name, [])
            values.extend([None] * (at - len(values)))
            values.append(value)

    def ratios(self, name, against=None):
        """Returns the sample by round, or its ratio to another one of the same round."""
        own = self.values.get(name, [])
        if against is None:
            return [value for value in own if value is not None]
        pairs = zip(own, self.values.get(against, []))
        return [a / b for a, b in pairs if a is not None and b]


def measure(suites, rows, quick, rounds, directory):
    """Measures the rows asked for. Says on stderr where it is."""
    samples = Samples()
    start = time.monotonic()
    for suite in suites:
        subjects = [subject for subject in suite.subjects if subject.rows & rows]
        if not subjects or (quick and suite.heavy):
            continue
        times = rounds if rounds and suite.rounds > 1 else suite.quick_rounds if quick else suite.rounds
        broken = set()
        for at in range(times):
            print(f"[{time.monotonic() - start:4.0f} s] {suite.name}: round {at + 1} of {times}", file=sys.stderr)
            for subject in subjects:
                if subject in broken:
                    continue
                try:
                    samples.add(at, subject.measure(directory))
                except LeftOut as e:
                    broken.add(subject)
                    if str(e) not in samples.left_out:
                        samples.left_out.append(str(e))
                        print(f"         left out: {e}", file=sys.stderr)
                except Failed as e:
                    # The others of the suite are still worth having.
                    broken.add(subject)
                    samples.failures.append(str(e))
                    print(f"         {e}", file=sys.stderr)
    return samples
