"""The one schema of params.yaml: every stage and every notebook reads its parameters through it.

The defaults are the paper's (512 px, width 64, depth 8, its loss weights) with PConv-Keras' training
schedule; params.yaml scales them down to a laptop. As a command it validates a complete parameter set and
makes it the current one:

    python -m pconv.params params/smoke.yaml
"""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML, YAMLError

from pconv.errors import PConvError
from pconv.project import project_root

Count = Annotated[int, Field(ge=1)]


Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


Rate = Annotated[float, Field(gt=0, le=1)]


Share = Annotated[float, Field(gt=0, le=1)]


class ParamsError(PConvError, ValueError):
    """A parameter file that cannot be used; the message names the file, the key and what is allowed."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(Section):
    source: Literal["packaged", "folder"] = Field("packaged", description="where photographs come from")
    folder: str | None = Field(None, description="folder of photographs, searched through, for source: folder")
    size: Annotated[int, Field(ge=16)] = Field(512, description="side of a crop, px")
    crop: Annotated[list[Share], Field(min_length=2, max_length=2)] = Field(
        [1.0, 1.0], description="least and greatest side of a crop before resizing, as a share of the shorter side"
    )

    @model_validator(mode="after")
    def _consistent(self):
        if self.source == "folder" and not self.folder:
            raise ValueError(
                f"data.folder = {self.folder!r}: data.source = folder needs the path of a folder of photographs"
            )
        if self.crop[0] > self.crop[1]:
            raise ValueError(f"data.crop = {self.crop}: the least share comes first")
        return self


class Masks(Section):
    train: Count = Field(55116, description="training masks")
    val: Count = Field(1000, description="validation masks")
    test: Count = Field(1000, description="test masks per hole-ratio bin, with and without border constraint each")


class Model(Section):
    width: Count = Field(64, description="channels of the first encoder layer")
    depth: Annotated[int, Field(ge=2, le=9)] = Field(8, description="encoder layers, each halving the image")


class Loss(Section):
    vgg: str = Field("imagenet", min_length=1, description="packaged, imagenet, random, or the path of a weights file")
    valid: Weight = 1.0
    hole: Weight = 6.0
    perceptual: Weight = 0.05
    style: Weight = 120.0
    tv: Weight = 0.1

    @model_validator(mode="after")
    def _some(self):
        if not any((self.valid, self.hole, self.perceptual, self.style, self.tv)):
            raise ValueError("loss: all weights are 0; at least one has to be above")
        return self


class Stage(Section):
    lr: Rate = Field(description="Adam's learning rate in the first step")
    lr_end: Rate | None = Field(None, description="and in the last, on a straight line; null: the same throughout")
    epochs: Count = 50
    steps: Count = Field(10_000, description="batches in an epoch")


class Train(Section):
    batch: Count = 6
    recolour: bool = Field(False, description="training crops in other colours too: for few photographs")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    processes: Annotated[int, Field(ge=0)] = Field(0, description="that share a batch; 0: one per GPU")
    sync_norm: bool = Field(False, description="batch norm over the batches of all GPUs together")
    validation: Count = Field(1000, description="validation crops")
    workers: Annotated[int, Field(ge=0)] = Field(8, description="loader processes; changes no result")
    checkpoint_seconds: Annotated[float, Field(ge=0)] = Field(300, description="between checkpoints; changes no result")
    stage1: Stage = Stage(lr=1e-4)
    stage2: Stage = Stage(lr=5e-5)


class Evaluate(Section):
    baselines: list[Literal["mean fill", "telea", "navier-stokes", "biharmonic"]] = Field(
        ["mean fill", "telea", "navier-stokes"],
        min_length=1,
        description="what else fills the test crops; biharmonic is slow",
    )


class Params(Section):
    """All parameters of a run. Unknown keys, wrong types and values out of range are errors."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: Data = Data()
    masks: Masks = Masks()
    model: Model = Model()
    loss: Loss = Loss()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def _fits(self):
        smallest = 2 ** (self.model.depth - 1)
        if self.data.size < smallest:
            raise ValueError(
                f"data.size = {self.data.size} is too small for model.depth = {self.model.depth}: "
                f"at least {smallest} px, or a smaller depth"
            )
        if self.train.batch == 1 and self.data.size <= 2 * smallest:  # one pixel is all that batch norm would see
            raise ValueError(
                f"train.batch = 1 with data.size = {self.data.size} and model.depth = {self.model.depth}: batch norm "
                f"needs a batch of at least 2, a size above {2 * smallest} px, or a smaller depth"
            )
        return self


def load_params(path: str | Path | None = None) -> Params:
    """Read and check a parameter file (default: the project's params.yaml).

    Raises ParamsError with one line per problem: file, key path, value, what is allowed.
    """
    path = Path(path) if path is not None else project_root() / "params.yaml"
    try:
        values = YAML(typ="safe").load(path.read_bytes())
    except OSError as error:
        raise ParamsError(f"{path}: {error.strerror}") from None
    except YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {_first_problem(error)}") from None
    if not isinstance(values, dict):
        found = "nothing" if values is None else type(values).__name__
        raise ParamsError(f"{path}: expected sections such as data and model, found {found}")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError("\n".join(f"{path}: {_describe(e)}" for e in error.errors())) from None


def flat(values: dict, prefix: str = "") -> dict:
    """{"loss": {"style": 1}} as {"loss.style": 1}."""
    found = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _first_problem(error: YAMLError) -> str:
    """One line of what ruamel.yaml says in several."""
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: {error.problem}" if mark else str(error).splitlines()[0]


def _describe(error) -> str:
    """One line for one pydantic error: key path, value, what is allowed."""
    loc, message = error["loc"], error["msg"].removeprefix("Value error, ")
    key = ".".join(str(part) for part in loc)
    if error["type"] in ("extra_forbidden", "invalid_key"):
        allowed = sorted(_fields(loc[:-1]))
        near = difflib.get_close_matches(str(loc[-1]), allowed, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{key}: unknown key; {hint}allowed here: {', '.join(allowed)}"
    if error["type"] == "missing":
        return f"{key}: missing, and it has no default"
    if error["type"] == "model_type":
        return f"{key} = {error['input']!r}: expected a section with {', '.join(_fields(loc))}"
    if error["type"] == "value_error":  # raised by a section's own check, which names its keys
        return message
    return f"{key} = {error['input']!r}: {message[0].lower()}{message[1:]}"


def _fields(loc) -> list[str]:
    """Names that the section at a key path allows."""
    section = Params
    for part in loc:
        section = section.model_fields[part].annotation
    return list(section.model_fields)


def _check_complete(source: Path) -> None:
    """Raise ParamsError unless the file gives every parameter: another's default would be a surprise."""
    expected = flat(load_params(source).model_dump())
    missing = sorted(expected.keys() - flat(YAML(typ="safe").load(source.read_bytes())).keys())
    if missing:
        raise ParamsError(f"{source}: no {', '.join(missing)}; a parameter set names every key")


def use(source: Path, target: Path) -> None:
    """Validate a complete parameter set and copy it over params.yaml, unless edits there would be lost."""
    _check_complete(source)
    kept = [p.read_bytes() for p in (source, *sorted((target.parent / "params").glob("*.yaml")))]
    command = ["git", "show", f"HEAD:./{target.name}"]
    committed = subprocess.run(command, cwd=target.parent, capture_output=True).stdout
    if target.exists() and target.read_bytes() not in (*kept, committed):
        raise ParamsError(
            f"{target}: has edits that are saved nowhere else; commit them or copy them into params/ first"
        )
    target.write_bytes(source.read_bytes())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pconv.params params/NAME.yaml")
    try:
        use(Path(sys.argv[1]), project_root() / "params.yaml")
    except (ParamsError, OSError) as error:
        sys.exit(str(error))
