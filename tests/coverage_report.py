"""Prints line and branch coverage by package, and fails if engine or storage is below its minimum.

Commands that the tests run as processes of their own are not counted.
"""

import sys
from collections import defaultdict

from coverage import Coverage

REQUIRED = {"engine": (95.0, 90.0), "storage": (95.0, 90.0)}


def main() -> int:
    """Print the table; return 1 if a package is below its minimum."""
    coverage = Coverage()
    coverage.load()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for file in coverage.get_data().measured_files():
        if "/technopay/" not in file:
            continue
        package = file.split("/technopay/")[1].split("/")[0]
        numbers = coverage._analyze(file).numbers
        found = (numbers.n_statements, numbers.n_executed, numbers.n_branches, numbers.n_executed_branches)
        counts[package] = [known + new for known, new in zip(counts[package], found, strict=True)]
    failed = False
    print(f"\n{'coverage':12}{'lines':>10}{'branches':>10}")
    for package, (statements, executed, branches, executed_branches) in sorted(counts.items()):
        lines = 100 * executed / statements
        taken = 100 * executed_branches / branches if branches else 100.0
        lines_min, taken_min = REQUIRED.get(package, (0.0, 0.0))
        missing = lines < lines_min or taken < taken_min
        failed |= missing
        verdict = f"  at least {lines_min:.0f} and {taken_min:.0f} wanted" if missing else ""
        print(f"{package:12}{lines:9.1f}%{taken:9.1f}%{verdict}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
