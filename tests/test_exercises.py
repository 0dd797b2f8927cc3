"""The exercises at the end of each notebook: three, whose code runs by itself once the pipeline has run."""

import re
import resource
import subprocess
import sys

import nbformat
import pytest
from repository import ENVIRONMENT, ROOT

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("0[1-7]*.ipynb"))
BLOCK = re.compile(r"\*\*(\d)\.\*\* (.+?)\n\n```python\n(.+?)```", re.DOTALL)


def exercises(name):
    """Return the number, the question and the code of each exercise of a notebook."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    assert cells[-1].source.startswith("## Exercises\n")
    return BLOCK.findall(cells[-1].source)


CASES = [(name, number, code) for name in NOTEBOOKS for number, _, code in exercises(name)]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_three_exercises_end_a_notebook(name):
    found = exercises(name)
    assert [number for number, *_ in found] == ["1", "2", "3"]
    for _, question, code in found:
        assert "?" in question or "." in question.rstrip(".")
        compile(code, name, "exec")
        assert max(map(len, code.splitlines())) <= 120


@pytest.mark.parametrize("name, number, code", CASES, ids=[f"{name}-{number}" for name, number, _ in CASES])
def test_an_exercise_runs_in_a_minute(smoke, name, number, code):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = ENVIRONMENT | {"PYTHONPATH": str(smoke / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=smoke, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() or "figure" in code
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 60, "seconds of the processor, whatever else it has to do"
