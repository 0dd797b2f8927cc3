"""Try hostile input and count what comes of it, by kind: reports/robustness.json and docs/robustness.md.

python benchmarks/robustness.py            # all cases
python benchmarks/robustness.py mask       # those whose kind or name contains "mask"
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from hostile import OUTCOMES, judge
from hostile.preload import CASES

from pconv.progress import Progress
from pconv.project import project_root


def main() -> None:
    """Judge the cases, print each fault, and write the counts if no case was left out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", nargs="?", default="", help="try only the cases whose kind or name contains this")
    part = parser.parse_args().part
    cases = [case for case in CASES if part in case.kind or part in case.name]
    kinds = {kind: [case for case in cases if case.kind == kind] for kind in dict.fromkeys(case.kind for case in cases)}
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(kinds, Progress(pool.map(judge, kinds.values()), desc="kind", total=len(kinds)), strict=True))
    for kind, outcomes in found.items():
        for case, one in zip(kinds[kind], outcomes, strict=True):
            if one.fault:
                print(f"{kind}, {case.name}: {one.outcome}: {one.said}")
    counts = {kind: Counter(one.outcome for one in outcomes) for kind, outcomes in found.items()}
    print(table(counts))
    if not part:
        write(counts)
    sys.exit(any(one.fault for outcomes in found.values() for one in outcomes))


def table(counts: dict[str, Counter]) -> str:
    """Return the counts as a Markdown table: a row for each kind, a column for each outcome, and their sums."""
    whole = {**counts, "all": sum(counts.values(), Counter())}
    rows = [["input", "cases", *OUTCOMES]]
    rows += [[kind, row.total(), *(row[outcome] for outcome in OUTCOMES)] for kind, row in whole.items()]
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def write(counts: dict[str, Counter]) -> None:
    """Write the counts for the reader and for programs."""
    values = {kind: {"cases": row.total()} | {name: row[name] for name in OUTCOMES} for kind, row in counts.items()}
    (project_root() / "reports" / "robustness.json").write_text(json.dumps(values, indent=2) + "\n")
    (project_root() / "docs" / "robustness.md").write_text(INTRODUCTION + table(counts) + "\n")


INTRODUCTION = """# Hostile input

What the project makes of files, parameters and commands that are damaged, misleading or merely unusual. *Right*: the
result is what it should be. *Refused*: one short message names the file, the key or the cell and says what to do. The
other three are faults: a *traceback* (or a message that does not help), a *hang* (no end after 20 seconds) and *wrong*
(a result in silence that it should not be). Every case is a few lines in `benchmarks/hostile/`, and the tests run them
too. This page is made by `python benchmarks/robustness.py`.

"""

if __name__ == "__main__":
    main()
