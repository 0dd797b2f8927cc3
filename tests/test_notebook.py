"""What an executed notebook keeps and what it leaves out, and how the papermill engine runs it."""

import copy
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import v4
from papermill import execute_notebook
from papermill.exceptions import PapermillExecutionError
from repository import PATIENCE

from pconv.engine import NotebookError, check_parameters, declared, describe_failure, prepare_environment
from pconv.notebook import METADATA, clean, write_metrics

ROOT = Path(__file__).parents[1]


PNG = "iVBOR/0xabcdef01=="  # base64, in which an address would be no address


def notebook(*cells: str):
    """Return a notebook of code cells; the first is tagged `parameters`."""
    nb = v4.new_notebook(cells=[v4.new_code_cell(source) for source in cells])
    nb.cells[0].metadata.tags = ["parameters"]
    nb.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nb


def executed(times: str, address: str, number: int, root: str):
    """Return a notebook as papermill leaves it; the arguments are what differs between two runs of it."""
    nb = notebook("1", "2", "3")
    nb.metadata.papermill = {"duration": number / 7, "start_time": times, "output_path": f"{root}/out.ipynb"}
    nb.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {address: {}}}}
    nb.metadata.language_info = {"name": "python", "version": f"3.11.{number}"}
    injected = v4.new_code_cell("# Parameters\nstage = 2\n", metadata={"tags": ["injected-parameters"]})
    nb.cells.insert(1, injected)
    for cell in nb.cells:
        cell.metadata.papermill = {"duration": number, "start_time": times, "status": "completed"}
        cell.metadata.execution = {"iopub.execute_input": times}
    nb.cells[2].metadata.tags = []
    repr_ = f"<pconv.unet.PConvUNet object at {address}>"
    nb.cells[2].outputs = [
        v4.new_output("stream", name="stderr", text=f"100%|###| {number} [00:{number}<00:00]"),
        v4.new_output("stream", name="stdout", text=f"wrote {root}/reports/x.png in {root} at {times}\n{repr_}\n"),
        v4.new_output("stream", name="stdout", text=f"CPU times: user {number} ms\nWall time: {number} ms\n"),
        v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": address}}),
        v4.new_output("display_data", {"text/plain": repr_, "text/html": f"<b>{repr_}</b>", "image/png": PNG}),
        v4.new_output(
            "error", ename="E", evalue=repr_, traceback=[f"File /tmp/ipykernel_{number}/{number}.py:1", repr_]
        ),
    ]
    paths = [f"{Path.home()}/x", f"/usr/{number}/site-packages/x.py", f"{tempfile.gettempdir()}/tmpx{number}/x"]
    nb.cells[3].outputs = [v4.new_output("execute_result", {"text/plain": f"pid={number} {' '.join(paths)}"})]
    return nb


FIRST = ("2026-11-23T01:40:39.123456+00:00", "0x7f78798c71c0", 4711, "/home/ann/pconv")
SECOND = ("2027-01-02 11:22:33", "0x55d0aab0c0", 12, "/srv/b/x")


def test_clean_makes_equal_runs_equal():
    first, second = (clean(executed(*noise), Path(noise[-1])) for noise in (FIRST, SECOND))
    assert nbformat.writes(first) == nbformat.writes(second)
    nbformat.validate(first)
    assert clean(copy.deepcopy(first), Path("/home/ann/pconv")) == first


@pytest.mark.parametrize("which", range(4), ids=["times", "address", "number", "root"])
def test_clean_removes_each_kind_of_noise(which):
    text = nbformat.writes(clean(executed(*FIRST), Path(FIRST[-1])))
    assert str(FIRST[which]) not in text
    assert Path.home() == Path("/") or str(Path.home()) not in text


def test_clean_keeps_results():
    nb = clean(executed(*FIRST), Path(FIRST[-1]))
    assert [cell.id for cell in nb.cells] == ["cell-01", "cell-02", "cell-03", "cell-04"]
    assert [cell.metadata.get("tags") for cell in nb.cells] == [["parameters"], ["injected-parameters"], None, None]
    assert nb.metadata == METADATA
    stdout, figure, error = nb.cells[2].outputs
    assert stdout.text == "wrote reports/x.png in . at [time]\n<pconv.unet.PConvUNet object at 0x...>\n"
    assert figure.data["image/png"] == PNG
    assert error.traceback[0] == "File [cell]:1"
    assert nb.cells[3].outputs[0].data["text/plain"] == "pid=[pid] ~/x site-packages/x.py [tmp]/x"


@pytest.mark.parametrize(
    "text",
    [
        "32,865,248 parameters, L1 1.0912 %, PSNR 28.32 dB, 1763862039 pixels",
        "2018-09-08, hole ratio (0.1, 0.2], colour #0f0f0f, mask 0xff",
        "CPU times 4, a rapid 12, reports/figures/01-masks.png",
    ],
)
def test_clean_keeps_numbers_and_words(text):
    nb = notebook("1")
    nb.cells[0].outputs = [v4.new_output("stream", name="stdout", text=text)]
    assert clean(nb, ROOT).cells[0].outputs[0].text == text


def test_clean_does_not_need_papermill():
    code = "import pconv.notebook, sys; sys.exit('papermill' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True)


def test_metrics_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_metrics("made", {"psnr": 28.3212345678, 1: [0.1, 2]})
    path = tmp_path / "reports/metrics/made.json"
    before = path.read_text()
    assert before == '{\n  "psnr": 28.3212,\n  "1": [\n    0.1,\n    2\n  ]\n}\n'

    def full(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_metrics("made", {})
    assert path.read_text() == before and os.listdir(path.parent) == ["made.json"]


def test_metrics_that_are_not_finite_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"reports/metrics/made\.json: not written.* not finite: pconv\.psnr, l1$"):
        write_metrics("made", {"pconv": {"psnr": float("nan"), "ssim": 0.9}, "l1": float("inf")})
    assert not (tmp_path / "reports").exists()


# Parameters


TYPED = """
from typing import Literal
from pconv.params import Weight

stage: Literal[1, 2] = 1  # a comment
rev: str = "HEAD"
style: Weight = 1.0
anything = [1]
"""


@pytest.fixture
def execute(tmp_path):
    """Run a notebook whose parameters cell is given, over a report that is there; returns what papermill is told."""

    def execute(cell, **parameters):
        nbformat.write(notebook(cell) if isinstance(cell, str) else cell, tmp_path / "typed.ipynb")
        (tmp_path / "report.ipynb").write_text("the report before")
        with pytest.raises(NotebookError) as caught:
            execute_notebook(
                tmp_path / "typed.ipynb",
                tmp_path / "report.ipynb",
                parameters,
                engine_name="reproducible",
                progress_bar=False,
            )
        assert (tmp_path / "report.ipynb").read_text() == "the report before"
        return str(caught.value).replace(f"{tmp_path}/", "")

    return execute


WRONG = {
    "a value that is not allowed": (dict(stage=3), "-p stage 3: input should be 1 or 2"),
    "a value as text": (dict(stage="1"), "-p stage 1: input should be 1 or 2"),
    "a truth value for a number": (dict(stage=True), "-p stage True: input should be 1"),
    "a fraction": (dict(stage=1.0), "-p stage 1.0: input should be 1"),
    "None": (dict(stage=None), "-p stage None: input should be 1 or 2"),
    "a commit of digits": (
        dict(rev=1234567),
        "-p rev 1234567: input should be a valid string; -r rev passes it as text",
    ),
    "a negative weight": (dict(style=-1), "-p style -1: input should be greater than or equal to 0"),
    "a number as text": (dict(style="0.5"), "-p style 0.5: input should be a valid number"),
    "NaN": (dict(style=float("nan")), "-p style nan: input should be "),
    "a mistyped name": (
        dict(stgae=1),
        "-p stgae: unknown parameter; did you mean stage? allowed here: stage, rev, style, anything",
    ),
    "another name": (dict(seed=1), "-p seed: unknown parameter; allowed here: stage, rev, style, anything"),
    "a long name": ({"x" * 5000: 1}, f"-p {'x' * 79}…: unknown parameter; allowed here"),
    "an import's name": (dict(Weight=1), "-p Weight: unknown parameter"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_parameters_stop_a_notebook_before_anything_is_written(case, execute):
    parameters, message = WRONG[case]
    said = execute(TYPED, **parameters)
    assert said.startswith(f"typed.ipynb: {message}") and len(said.splitlines()) == 1 and len(said) < 250


def test_each_wrong_parameter_has_a_line(execute):
    assert execute(TYPED, stage=3, style=0.5, anything=3, sead=2).splitlines() == [
        "typed.ipynb: -p stage 3: input should be 1 or 2",
        "typed.ipynb: -p sead: unknown parameter; allowed here: stage, rev, style, anything",
    ]


def test_a_notebook_without_parameters_takes_none(execute):
    none = "typed.ipynb: -p seed: unknown parameter; this notebook has none and reads params.yaml"
    assert execute("# none", seed=1) == none
    untagged = notebook("seed = 1")
    untagged.cells[0].metadata.tags = []
    assert execute(untagged, seed=1) == none


@pytest.mark.parametrize("cell", ["%time\nstage = 1", "stage: Gone = 1", "import gone_for_good\nstage = 1"])
def test_a_parameters_cell_that_cannot_be_read_is_named(cell, execute):
    assert execute(cell, stage=1).startswith("typed.ipynb: its parameters cell cannot be read: ")


@pytest.mark.parametrize("parameters", [{}, {"stage": 2}, {"style": 0}, {"rev": "main"}, {"anything": {"a": 1}}])
def test_parameters_that_fit_pass(parameters):
    nb = notebook(TYPED)
    nb.metadata.papermill = {"parameters": parameters}
    check_parameters(nb, "typed.ipynb")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_all_parameters_of_a_notebook_have_a_type_that_their_values_fit(path):
    nb = nbformat.read(path, as_version=4)
    (cell,) = (cell for cell in nb.cells if "parameters" in cell.metadata.get("tags", []))
    exec(cell.source, values := {})
    types = declared(cell.source)
    assert Any not in types.values()
    nb.metadata.papermill = {"parameters": {name: values[name] for name in types}}
    check_parameters(nb, str(path))


NOISY = """
import os, sys, time
from IPython.display import HTML, display
print("step", time.time(), os.getpid(), file=sys.stderr)
print(object(), hex(id(sys)), os.getcwd(), flush=True)
print("late", time.time(), file=sys.stderr, flush=True)
print(*{f"hole {number}" for number in range(20)})
display(HTML(f"<p>{object()}</p>"))
%time stage
"""
RUNS = {
    "first": notebook("stage = 1", NOISY),
    "second": notebook("stage = 1", NOISY),
    "wrong": notebook("stage = 1", "x = 3\nraise ZeroDivisionError(f'stage {stage}')", "x = 4"),
    "params": notebook(
        "stage = 1", "from pconv.params import load_params\nload_params('bad.yaml')  # as start() reads params.yaml"
    ),
    "killed": notebook("stage = 1", "", "1", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Start all RUNS at once by papermill's command line: name -> (exit status, stdout, stderr, output path)."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "bad.yaml").write_text((ROOT / "params.yaml").read_text().replace("batch: 4", "batch: many"))
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    processes = {}
    for name, nb in RUNS.items():
        nbformat.write(nb, folder / f"{name}.ipynb")
        command = [sys.executable, "-m", "papermill", "--engine", "reproducible", "--no-progress-bar"]
        command += ["--log-level", "WARNING", f"{name}.ipynb", f"made/by/engine/{name}.ipynb", "-p", "stage", "2"]
        processes[name] = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    done = {name: (*process.communicate(timeout=PATIENCE), process.returncode) for name, process in processes.items()}
    return {
        name: (status, stdout, stderr, folder / "made/by/engine" / f"{name}.ipynb")
        for name, (stdout, stderr, status) in done.items()
    }


def test_equal_runs_give_equal_bytes(runs):
    status, stdout, stderr, first = runs["first"]
    assert status == 0, stderr
    assert first.read_bytes() == runs["second"][-1].read_bytes()
    nb = nbformat.read(first, as_version=4)
    assert nb.cells[1].source == "# Parameters\nstage = 2\n"
    assert [output.output_type for output in nb.cells[2].outputs] == ["stream", "display_data", "execute_result"]
    assert nb.cells[2].outputs[0].text.startswith("<object object at 0x...> 0x... .\nhole ")
    assert nb.cells[2].outputs[-1].data["text/plain"] == "2"


def test_output_reaches_the_terminal(runs):
    _, stdout, stderr, _ = runs["first"]
    assert "<object object at 0x" in stdout
    lines = stderr.splitlines()
    assert [line.split()[0] for line in lines] == [
        "step",
        "late",
        "first.ipynb",
    ]  # nothing of papermill's or the kernel's own


def test_output_may_reach_a_slow_terminal_late(tmp_path):
    class SlowTerminal(io.StringIO):
        def write(self, text):
            time.sleep(0.8)
            return super().write(text)

    lines = "for number in range(7):\n    print(number, flush=True)"
    nbformat.write(notebook("# none", lines), tmp_path / "late.ipynb")
    execute_notebook(
        tmp_path / "late.ipynb",
        tmp_path / "out.ipynb",
        engine_name="reproducible",
        progress_bar=False,
        stdout_file=(terminal := SlowTerminal()),
    )
    assert terminal.getvalue().split() == list("0123456")


def test_failure_names_the_cell_and_keeps_papermills_marks(runs):
    status, _, stderr, path = runs["wrong"]
    assert status == 1
    assert "Error: wrong.ipynb stopped in cell [3], `x = 3`; executed up to there: made/by/engine/wrong.ipynb" in stderr
    assert stderr.rstrip().endswith("ZeroDivisionError: stage 2")
    assert "papermill/" not in stderr
    nb = nbformat.read(path, as_version=4)
    assert nb.cells[0].metadata.tags == ["papermill-error-cell-tag"] == nb.cells[3].metadata.tags
    assert nb.metadata.papermill.exception is True
    assert nb.cells[4].outputs[0].ename == "ZeroDivisionError"
    assert nb.cells[5].execution_count is None


def test_wrong_parameters_are_named_without_a_traceback(runs):
    status, _, stderr, _ = runs["params"]
    assert status == 1
    assert len(stderr.splitlines()) == 2
    assert stderr.splitlines()[-1].startswith("ParamsError: bad.yaml: train.batch = 'many': ")


@pytest.mark.parametrize("terminal, size, told", [(True, (80, 24), "1"), (True, (0, 0), None), (False, (80, 24), None)])
def test_the_kernel_is_told_whether_a_terminal_shows_stderr(monkeypatch, terminal, size, told):
    monkeypatch.setattr(os, "environ", {"PCONV_TTY": "1"})
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size(size))  # pytest asks, too
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    prepare_environment()
    assert os.environ.get("PCONV_TTY") == told


@pytest.mark.parametrize(
    "given, wanted", [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_threads_wait_only_briefly_in_a_busy_loop_unless_asked_to(monkeypatch, given, wanted):
    monkeypatch.setattr(os, "environ", dict(given))
    prepare_environment()
    assert os.environ.get("GOMP_SPINCOUNT") == wanted
    assert os.environ.get("OMP_WAIT_POLICY") == given.get("OMP_WAIT_POLICY")


@pytest.mark.parametrize(
    "name, value",
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB"),
        ("RuntimeError", "DefaultCPUAllocator: can't allocate memory"),
        ("MemoryError", ""),
    ],
)
def test_memory_errors_say_what_to_do(name, value):
    error = PapermillExecutionError(1, 1, "fit()", name, value, [f"{name}: {value}"])
    *_, last = describe_failure(error).splitlines()
    assert "train.batch" in last and "data.size" in last


def test_killed_kernel_says_where_and_what_to_do(runs):
    status, _, stderr, _ = runs["killed"]
    assert status == 1
    assert "killed.ipynb stopped in cell [4], `import os, signal`" in stderr
    for words in ("killed", "memory", "train.batch", "data.size", "checkpoint"):
        assert words in stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "tags, hidden", [(["hide-input"], True), (["other", "remove-input"], True), (["other"], False)]
)
def test_cells_that_prepare_something_are_collapsed_in_jupyterlab(tags, hidden):
    nb = notebook("1")
    nb.cells[0].metadata.tags = tags
    for _ in range(2):  # cleaning twice changes nothing more
        metadata = clean(nb).cells[0].metadata
        assert metadata == {"tags": tags} | ({"jupyter": {"source_hidden": True}} if hidden else {})
