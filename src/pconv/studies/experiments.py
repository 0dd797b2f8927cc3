"""The experiments behind notebook 07: into DVC's queue, and from its finished experiments into small files.

    python -m pconv.studies.experiments queue --photographs /path/to/folder     # without a folder: the packaged ones
    dvc queue start
    python -m pconv.studies.experiments collect

claims/experiments.yaml lists them. Each is run with each of its seeds; a finished one is not queued again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.repo import Repo
from pydantic import Field, ValidationError
from ruamel.yaml import YAML

from pconv.completion import composite
from pconv.data.crops import random_crop
from pconv.data.decoding import read_image
from pconv.data.manifest import manifest_path
from pconv.data.packages import unpack
from pconv.data.tensors import to_tensor
from pconv.errors import PConvError, cut
from pconv.evaluate import BATCH, OURS, Crops, composites, evaluate
from pconv.params import NEUTRAL, Params, Section, flat, load_params
from pconv.progress import say
from pconv.project import SPLITS, claims_folder, model_folder, project_root
from pconv.studies.collected import Run, read_about, write_run
from pconv.unet import FILLS, PConvUNet, load_model
from pconv.yaml import read_yaml

PREFIX = "claims-"  # of the experiments' names in DVC
PLACE = {"data.source", "data.folder"}  # where the photographs are; what they are is told by their lists
FILES = ("data/images/test.csv", "data/images/packaged/test", "data/masks/test", "models/stage1", "models/stage2")


class ExperimentError(PConvError, ValueError):
    """A list of experiments, or an experiment, that cannot be used; the message names it."""


class Entry(Section):
    """An experiment of claims/experiments.yaml."""

    set: dict = Field({}, description="Parameters and their values, by key path.")
    also: list[Literal["stage 1", "fills"]] = Field([], description="What is measured besides the trained network.")
    pictures: bool = Field(False, description="Whether pictures are kept.")


class Plan(Section):
    """The content of claims/experiments.yaml."""

    seeds: list[int] = Field(min_length=1, description="The seeds that each experiment is run with.")
    experiments: dict[str, Entry] = Field(description="The experiments by name.")


class Planned(NamedTuple):
    """An experiment with one of its seeds."""

    name: str
    seed: int
    entry: Entry
    params: dict  # flat

    @property
    def title(self) -> str:
        """Its name in claims/results."""
        return f"{self.name}-{self.seed}"


def read_plan(photographs: str | None = None) -> list[Planned]:
    """Return the experiments with their parameters, all of one seed before those of the next.

    photographs: a folder, or None for the packaged ones. Raises ExperimentError or ParamsError.
    """
    path = claims_folder() / "experiments.yaml"
    try:
        plan = Plan.model_validate(read_yaml(path))
    except ValidationError as error:
        raise _refusal(path, error) from None
    base = flat(load_params(project_root() / "params" / "claims.yaml").model_dump())
    if photographs is not None:
        base |= {"data.source": "folder", "data.folder": str(Path(photographs).resolve())}
    return [
        Planned(name, seed, entry, _checked(f"{path}: {name}", base | entry.set | {"seed": seed}))
        for seed in plan.seeds
        for name, entry in plan.experiments.items()
    ]


def _checked(what: str, values: dict) -> dict:
    """Return flat parameters as the schema has them. Raises ExperimentError if it refuses them."""
    try:
        return flat(Params.model_validate(nested(values)).model_dump())
    except ValidationError as error:
        raise _refusal(what, error) from None


def _refusal(what: str | Path, error: ValidationError) -> ExperimentError:
    """Return an error that names the first key that is wrong in what was read, and says why."""
    first = error.errors()[0]
    return ExperimentError(f"{what}: {cut('.'.join(map(str, first['loc'])))}: {first['msg']}")


def nested(values: dict) -> dict:
    """Return {"loss.vgg": "random"} as {"loss": {"vgg": "random"}}, the opposite of pconv.params.flat."""
    found: dict = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        inner = found
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return found


# Into the queue


def queue(photographs: str | None) -> int:
    """Queue what is neither collected nor finished nor in the queue; return how many experiments that were."""
    collected = read_about().get("experiments", {})
    with Repo(str(project_root())) as repo:
        known = set(_finished(repo)) | {one["name"] for one in repo.experiments.celery_queue.status()}
    current, count = flat(load_params().model_dump()), 0
    for one in read_plan(photographs):
        if one.title in collected or PREFIX + one.title in known:
            continue
        say(f"queueing {one.title}")
        changes = [f"{key}={_as_override(value)}" for key, value in one.params.items() if value != current[key]]
        options = [part for change in changes for part in ("-S", change)]
        command = ["dvc", "exp", "run", "--queue", "--quiet", "--name", PREFIX + one.title, *options, "evaluate"]
        subprocess.run(command, cwd=project_root(), check=True)
        count += 1
    return count


def _finished(repo: Repo) -> dict[str, str]:
    """Return the finished experiments that started from any commit: name -> revision."""
    return {name: rev for found in repo.experiments.ls(all_commits=True).values() for name, rev in found}


def _as_override(value) -> str:
    """Return a value as `dvc exp run -S` reads it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_as_override, value))}]"
    if isinstance(value, str):
        return "'" + value.replace("'", r"\'") + "'"
    return json.dumps(value)


# Out of it


def collect() -> tuple[list[str], list[str]]:
    """Write what the finished experiments measured to claims/results; return which were added and which are missing."""
    added, missing = [], []
    with Repo(str(project_root())) as repo:
        finished = _finished(repo)
    collected = read_about().get("experiments", {})
    for one in read_plan():
        if one.title in collected:
            continue
        rev = finished.get(PREFIX + one.title)
        if rev is None:
            missing.append(one.title)
            continue
        say(f"collecting {one.title}")
        write_run(*_read_run(one, rev))
        added.append(one.title)
    return added, missing


def _read_run(one: Planned, rev: str) -> tuple[Run, dict]:
    """Return a finished experiment, and what it shares with the others."""
    root, revision = project_root(), DVCFileSystem(str(project_root()), rev=rev)
    values = YAML(typ="safe").load(revision.read_text("params.yaml"))
    _check_params(one, flat(values))
    params = Params.model_validate(values)
    if params.data.folder is not None:
        data = params.data.model_copy(update={"folder": str(root / params.data.folder)})
        params = params.model_copy(update={"data": data})
    stage = json.loads(revision.read_text("reports/metrics/stage1.json"))
    common = {
        "photographs": _photographs(revision),
        "params": _kept(flat(load_params(root / "params" / "claims.yaml").model_dump())),
        "precision": stage["precision"],
    }
    with TemporaryDirectory() as folder, chdir(folder):
        for path in FILES:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            revision.get(path, path, recursive=True)
        Path("dvc.yaml").touch()  # what makes it a project
        table, measured = measure(one, params, pd.read_csv(revision.open("reports/metrics/crops.csv")))
        crops = f"{params.masks.source}-{one.seed}"
        pictures = _pictures(one, params, crops) if one.entry.pictures and one.seed == 0 else {}
    about = {"params": _kept(one.entry.set | {"seed": one.seed})} | measured
    return Run(one.name, one.seed, crops, about, table, pictures), common


def _check_params(one: Planned, found: dict) -> None:
    """Raise ExperimentError if a run had other values. A parameter that it did not know yet had no other value."""
    changed = [key for key in sorted(one.params.keys() & found.keys() - PLACE) if found[key] != one.params[key]]
    if changed:
        raise ExperimentError(
            f"{PREFIX}{one.title}: was run with another value of {', '.join(changed)} than claims/experiments.yaml and "
            f"params/claims.yaml ask for; remove it (dvc exp remove {PREFIX}{one.title}) and queue it again"
        )


def _kept(values: dict) -> dict:
    """Return those of flat parameters that change a result, without the folder of this machine."""
    neutral = {f"{section}.{key}" for section, keys in NEUTRAL.items() for key in keys}
    return {key: value for key, value in values.items() if key not in neutral | PLACE}


def _photographs(revision: DVCFileSystem) -> dict:
    """Return the number of photographs of each split, and a checksum of their lists, which hold checksums of them."""
    lists = [revision.read_bytes(f"data/images/{manifest_path(split).name}") for split in SPLITS]
    counts = {split: content.count(b"\n") - 1 for split, content in zip(SPLITS, lists, strict=True)}
    return counts | {"sha256": hashlib.sha256(b"".join(lists)).hexdigest()}


def measure(one: Planned, params: Params, table: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    """Add to the table of an evaluated network what is measured besides; return it, and values for experiments.json.

    The working directory is a project with the experiment's test set and weights.
    """
    alone = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"baselines": []})})
    first, model = (load_model(model_folder(stage) / "best.safetensors") for stage in (1, 2))
    tables, measured = [table], {"stage 1": checksum(first)}
    if "stage 1" in one.entry.also:
        tables.append(evaluate(first, alone).assign(method=f"{OURS}, stage 1"))
    if "fills" in one.entry.also:
        if model.layer == "partial":
            measured["difference between contents"] = largest_difference(model, Crops(params))
        else:
            tables += list(_with_other_fills(model, alone))
    return pd.concat(tables, ignore_index=True), measured


def checksum(model: PConvUNet) -> str:
    """Return a checksum of a network's weights."""
    tensors = model.state_dict().values()
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def _with_other_fills(model: PConvUNet, params: Params) -> Iterator[pd.DataFrame]:
    """Yield what a plain network reaches that finds another colour in the hole than in training."""
    for fill in ("mean", *FILLS):
        if fill != params.model.fill:
            model.fill = fill
            yield evaluate(model, params).assign(method=f"{OURS}, {fill}")


def largest_difference(model: PConvUNet, crops: Crops) -> float:
    """Return the largest difference of a network's composites, over all crops, between contents of the hole."""
    rng, largest = torch.Generator().manual_seed(0), 0.0
    for start in range(0, len(crops), BATCH):
        batch = crops[start : start + BATCH]
        gt, mask = torch.stack([crop.gt for crop in batch]), torch.stack([crop.mask for crop in batch])
        contents = (*FILLS.values(), torch.rand(gt.shape, generator=rng), torch.nan)
        first, *others = (composite(model, torch.where(mask > 0, gt, content), mask) for content in contents)
        largest = max(largest, *((other - first).abs().max().item() for other in others))
    return largest


def _pictures(one: Planned, params: Params, crops: str) -> dict[str, np.ndarray]:
    """Return the composites of a crop for each bin side by side, and so the truth, and the holes in white.

    Only the masks are those of the test: the photographs are the packaged ones, which may be passed on, whichever the
    networks were trained on.
    """
    photographs = [read_image(Path("shown") / name) for name in unpack("test", Path("shown"))]
    samples = []
    for i, crop in enumerate(Crops(params).one_per_bin()):
        photograph, rng = photographs[i % len(photographs)], np.random.default_rng(i)
        square = random_crop(photograph, params.data.size, params.data.crop, rng)
        samples.append(crop._replace(gt=to_tensor(square)))
    model = load_model(model_folder(2) / "best.safetensors")
    rows = {
        one.title: composites(model, [], samples)[OURS],
        f"truth-{crops}": torch.stack([crop.gt for crop in samples]),
        f"holes-{crops}": torch.stack([(1 - crop.mask).expand(3, -1, -1) for crop in samples]),
    }
    return {name: np.hstack(list(_as_pixels(row))) for name, row in rows.items()}


def _as_pixels(images: torch.Tensor) -> np.ndarray:
    return (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def main() -> None:
    """Queue or collect, as the command line says."""
    parser = argparse.ArgumentParser(
        description="Queue the experiments behind notebook 07, or collect the finished ones."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    options = commands.add_parser("queue", help="put into DVC's queue what is not finished")
    options.add_argument("--photographs", help="a folder of photographs; without it, the packaged ones")
    commands.add_parser("collect", help="write what finished experiments measured to claims/results")
    options = parser.parse_args()
    try:
        if options.command == "queue":
            print(f"{queue(options.photographs)} experiments queued; dvc queue start runs them one after the other")
        else:
            added, missing = collect()
            print(f"{len(added)} experiments added to claims/results; not finished: {', '.join(missing) or 'none'}")
    except (PConvError, DvcException, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
