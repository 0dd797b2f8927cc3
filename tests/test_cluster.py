"""The scripts for clusters: they do what docs/scaling.md says, by commands, options and paths that exist."""

import os
import re
import shlex
import signal
import subprocess
import time

import pytest
from repository import PATIENCE, ROOT
from ruamel.yaml import YAML
from torch.distributed.run import get_args_parser

from pconv.params import load_params

FOLDER = ROOT / "docs" / "cluster"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PROGRAMS = "(?:dvc|python|bash|sbatch|torchrun|srun torchrun)"
SLURM = {"SLURM_JOB_NODELIST": "gpu[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "36"}
TRAINING = "-m pconv.train --stage {0} --keep-checkpoint"


def prepare(tmp_path, script, fails=None):
    """Make an empty project with a script and with programs that only note their calls; returns their folder."""
    (tmp_path / "docs/cluster").mkdir(parents=True)
    (tmp_path / "docs/cluster" / script).write_text((FOLDER / script).read_text())
    (tmp_path / ".venv/bin").mkdir(parents=True)
    note = 'printf "%s\\n" "$(basename "$0")${*:+ $*}" >> calls'  # at once: several may write
    hosts = "seq -f gpu%.0f 100000"  # more than a pipe holds: still writing after the first line has been read
    for name in ("dvc", "torchrun", "srun", "scontrol", "ssh", "rsync"):
        does = {"srun": 'exec "$@"', "scontrol": hosts, "ssh": 'exec bash -c "$2"'}.get(name, "")
        path = tmp_path / ".venv/bin" / name
        path.write_text(f"#!/bin/bash\n{note}\n{'exit 3' if name == fails else does}\n")
        path.chmod(0o755)
    return tmp_path / ".venv/bin"


def run_with_fakes(tmp_path, script, *arguments, fails=None, **variables):
    """Run a script in such a project; returns its status and the calls."""
    prepare(tmp_path, script, fails)
    environment = {"PATH": os.environ["PATH"], "SLURM_SUBMIT_DIR": str(tmp_path), **variables}
    command = ["bash", f"docs/cluster/{script}", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
    return done, calls


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_it(path):
    subprocess.run(["bash", "-n", path], check=True)
    assert path.read_text().startswith("#!/bin/bash\n") and "\nset -euo pipefail\n" in path.read_text()


def test_slurm_starts_torchrun_on_each_machine_for_each_stage(tmp_path):
    done, calls = run_with_fakes(tmp_path, "slurm.sh", **SLURM)
    assert done.returncode == 0, done.stderr
    meeting = "torchrun --nnodes=2 --nproc-per-node=gpu --rdzv-id=7-{0} --rdzv-backend=c10d --rdzv-endpoint=gpu1:29500"
    trained = [f"{meeting} {TRAINING}".format(stage) for stage in (1, 2)]
    listed = ["dvc repro masks layer unet", "scontrol show hostnames gpu[1-2]"]
    assert calls == [*listed, f"srun {trained[0]}", trained[0], f"srun {trained[1]}", trained[1], "dvc repro"]


def test_cloud_starts_torchrun_here_and_by_ssh_with_what_this_machine_has_made(tmp_path):
    done, calls = run_with_fakes(tmp_path, "cloud.sh", "one", "two", "three")
    assert done.returncode == 0, done.stderr
    assert (calls[0], calls[-1]) == ("dvc repro masks layer unet", "dvc repro")
    meeting = "torchrun --nnodes=3 --nproc-per-node=gpu --master-addr=one --master-port=29500 --node-rank={1}"
    expected = [f"{meeting} {TRAINING}".format(stage, rank) for stage in (1, 2) for rank in (0, 1, 2)]
    assert sorted(call for call in calls if call.startswith("torchrun")) == sorted(expected)
    copied = [call for call in calls if call.startswith("rsync")]
    paths = "params.yaml data/images data/masks models"
    assert (
        copied == [f"rsync --archive --delete --relative {paths} {host}:{tmp_path}/" for host in ("two", "three")] * 2
    )
    assert all(f"cd {tmp_path} && env PATH={tmp_path}/.venv/bin:" in call for call in calls if call.startswith("ssh"))


def test_one_machine_is_enough_and_none_is_too_few(tmp_path):
    done, calls = run_with_fakes(tmp_path / "a", "cloud.sh", "one")
    assert done.returncode == 0 and len(calls) == 4, done.stderr
    done, calls = run_with_fakes(tmp_path / "b", "cloud.sh")
    assert done.returncode != 0 and calls == [] and "usage: bash docs/cluster/cloud.sh HOST1" in done.stderr


@pytest.mark.parametrize(
    "script, fails",
    [(script, program) for script in ("slurm.sh", "cloud.sh") for program in ("dvc", "torchrun")]
    + [("slurm.sh", "scontrol"), ("cloud.sh", "rsync")],
)
def test_what_fails_ends_it(tmp_path, script, fails):
    arguments = ("one", "two") if script == "cloud.sh" else ()
    done, calls = run_with_fakes(tmp_path, script, *arguments, fails=fails, **SLURM)
    assert done.returncode == 3
    assert not any("--stage 2" in call for call in calls) and calls.count("dvc repro") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_cloud_has_started_ends_with_it(tmp_path, number):
    """A training that went on would have the port, and files that the next run replaces."""
    folder = prepare(tmp_path, "cloud.sh")
    saves = "trap 'sleep 1; echo saved >> calls; exit 1' TERM INT\necho ready >> calls\nsleep 300 & wait"
    (folder / "torchrun").write_text(f"#!/bin/bash\n{saves}\n")
    command = ["bash", "docs/cluster/cloud.sh", "one", "two"]
    calls = tmp_path / "calls"
    options = {"stderr": subprocess.PIPE, "start_new_session": True}
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # background jobs may ignore it
    with subprocess.Popen(command, cwd=tmp_path, **options) as script:
        end = time.monotonic() + PATIENCE
        while not (calls.exists() and calls.read_text().count("ready") == 2) and time.monotonic() < end:
            time.sleep(0.05)
        script.send_signal(number)
        try:
            assert script.wait(PATIENCE) == 128 + number
            assert calls.read_text().splitlines()[-1] == "saved"  # it waits for the one on this machine
        finally:
            os.killpg(script.pid, signal.SIGKILL)  # also the sleeping


def commands():
    """Return the commands of the scripts, those in their comments and those of docs/scaling.md."""
    found = []
    for path in [*SCRIPTS, ROOT / "docs" / "scaling.md"]:
        text = re.sub(r" *\\\n\s*", " ", path.read_text())
        found += re.findall(rf"^(?:#? *|    )({PROGRAMS} .*)$", text, re.MULTILINE)
        found += re.findall(rf"`({PROGRAMS} [^`]*)`", text) if path.suffix == ".md" else []
    return sorted({re.sub(r"^srun ", "", command.partition("  ")[0].partition(" #")[0]) for command in found})


def options_of(script):
    """Return the options that a Python script of ours takes."""
    return set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', script.read_text()))


@pytest.mark.parametrize("command", commands())
def test_a_command_has_options_stages_and_paths_that_exist(command):
    words = shlex.split(command)
    for word in words:
        if re.match(r"(params|docs|benchmarks|src)/", word):
            assert (ROOT / word).exists(), word
    if words[0] == "dvc":
        assert words[1] in ("repro", "push") and set(words[2:]) <= STAGES.keys()
    elif words[0] == "torchrun":
        start = words.index("-m")
        assert words[start + 1] == "pconv.train"
        torchrun = {option for action in get_args_parser()._actions for option in action.option_strings}
        assert given(words[:start]) <= torchrun and given(words[start:]) <= options_of(ROOT / "src/pconv/train.py")
    elif words[0] == "python" and words[1] == "-m":
        assert words[2] == "pconv.params" and load_params(ROOT / words[3])
    elif words[0] == "python":
        assert given(words) <= options_of(ROOT / words[1])


def given(words):
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def test_the_options_of_the_recipe_are_torchruns_and_ours(tmp_path):
    """Its commands are put together of parts, so those that it called are looked at."""
    calls = run_with_fakes(tmp_path, "cloud.sh", "one", "two")[1]
    for call in (call for call in calls if call.startswith("torchrun")):
        test_a_command_has_options_stages_and_paths_that_exist(call)


def test_there_are_commands_to_test():
    assert {command.split()[0] for command in commands()} == {"dvc", "python", "bash", "sbatch", "torchrun"}
    assert len(commands()) >= 10


def test_slurm_knows_the_options_of_the_job():
    given = re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", (FOLDER / "slurm.sh").read_text(), re.MULTILINE)
    assert len(given) == (FOLDER / "slurm.sh").read_text().count("\n#SBATCH ")
    names = {"job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "time", "signal", "output"}
    assert {name for name, _ in given} == names  # of sbatch's manual
    values = dict(given)
    loaders = load_params(ROOT / "params/webdataset.yaml").train.workers
    assert int(values["cpus-per-task"]) == int(values["gpus-per-node"]) * (loaders + 1)
    assert values["ntasks-per-node"] == "1"


def test_the_example_shares_its_batch_among_its_machines():
    params = load_params(ROOT / "params/webdataset.yaml")
    params.check_batch(2 * 4)  # the GPUs that docs/cluster/slurm.sh asks for
