"""Try hostile input and count what comes of it, by kind: reports/robustness.json and docs/robustness.md.

python benchmarks/robustness.py            # all cases
python benchmarks/robustness.py mask       # those whose kind or name contains "mask"
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hostile import OUTCOMES, SECONDS, Case, Outcome, judge
from hostile.preload import CASES

from pconv.progress import Progress
from pconv.project import project_root

COMMAND = "python benchmarks/robustness.py"
INTRODUCTION = f"""# Hostile input

What the project makes of files, parameters, tensors and commands that are damaged, misleading or merely unusual.
*Right*: the result is what it should be. *Refused*: a short message names the file, the key or the argument and says
what is wrong with it. The other three are faults: a *traceback* (or a message that does not help), a *hang* (no end
after a minute) and *wrong* (a result in silence that it should not be). Every case is a few lines in
`benchmarks/hostile/`, and the tests try them all. `{COMMAND}` makes this page and `reports/robustness.json`.

"""


def main() -> None:
    """Judge the cases, print each fault, and write the counts if no case was left out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", nargs="?", default="", help="try only the cases whose kind or name contains this")
    part = parser.parse_args().part
    kinds = by_kind(case for case in CASES if part in case.kind or part in case.name)
    values = report(judge_kinds(kinds, SECONDS))
    print(page(values).removeprefix(INTRODUCTION))
    if not part:
        write(project_root(Path(__file__)), values)
    sys.exit(bool(values["faults"]))


def by_kind(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """Return the cases of each kind, in alphabetical order of the kinds."""
    kinds: dict[str, list[Case]] = {}
    for case in cases:
        kinds.setdefault(case.kind, []).append(case)
    return dict(sorted(kinds.items()))


def judge_kinds(kinds: dict[str, list[Case]], seconds: float) -> dict[str, list[tuple[Case, Outcome]]]:
    """Judge the cases of several kinds, two kinds at a time, and return each case with its outcome."""
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda cases: list(zip(cases, judge(cases, seconds), strict=True)), kinds.values())
        return dict(zip(kinds, Progress(found, desc="kind", total=len(kinds)), strict=True))


def report(judged: dict[str, list[tuple[Case, Outcome]]]) -> dict:
    """Return what reports/robustness.json says: the counts of each kind, and the faults one by one."""
    counts = {kind: Counter(outcome.outcome for _, outcome in pairs) for kind, pairs in judged.items()}
    faults = [
        f"{kind}, {case.name}: {outcome.outcome}: {outcome.said}"
        for kind, pairs in judged.items()
        for case, outcome in pairs
        if outcome.fault
    ]
    kinds = {kind: {"cases": row.total()} | {name: row[name] for name in OUTCOMES} for kind, row in counts.items()}
    return {"command": COMMAND, "kinds": kinds, "faults": faults}


def page(values: dict) -> str:
    """Return docs/robustness.md: a table with a row for each kind, and the faults, if any."""
    columns = ["cases", *OUTCOMES]
    kinds = values["kinds"]
    whole = {column: sum(row[column] for row in kinds.values()) for column in columns}
    rows = [["input", *columns], ["---"] * (1 + len(columns))]
    rows += [[kind, *(row[column] for column in columns)] for kind, row in (kinds | {"all": whole}).items()]
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    faults = ["", *(f"- {fault}" for fault in values["faults"])] if values["faults"] else []
    return INTRODUCTION + "\n".join(lines + faults) + "\n"


def write(root: Path, values: dict) -> None:
    """Write the counts for programs and for the reader."""
    (root / "reports" / "robustness.json").write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    (root / "docs" / "robustness.md").write_text(page(values))


if __name__ == "__main__":
    main()
