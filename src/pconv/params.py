"""The one schema of params.yaml: every stage and every notebook reads its parameters through it.

The schema's defaults are the paper's (512 px, width 64, depth 8, its loss weights) with PConv-Keras' training
schedule. A parameter file gives every key, so that no default is taken by oversight. As a command this module validates
a parameter set and makes it the current one:

    python -m pconv.params params/smoke.yaml
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pconv.errors import FileError, PConvError, cut
from pconv.files import read_small, write_file
from pconv.project import project_root
from pconv.yaml import MOST_BYTES, read_yaml

NAMED_VGG = ("packaged", "imagenet", "random")  # values of loss.vgg that are no paths
MOST_LINES = 10  # of an error: a file with more problems is another kind of file

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]


NEUTRAL = {  # keys that change no result, once the photographs are listed
    "data": {"check", "min_side", "max_pixels", "max_rejected"},
    "train": {"workers", "checkpoint_seconds"},
}


class ParamsError(PConvError, ValueError):
    """A parameter file that cannot be used; the message names the file, the key and what is allowed."""


class Section(BaseModel):
    """Part of a parameter file: unknown keys, wrong types and values out of range are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


ImageSource = Literal[  # as pconv.data.sources.SOURCES, besides packaged and webdataset
    "packaged", "folder", "imagenette", "imagenet", "places365", "places365-small", "webdataset"
]


class Data(Section):
    """The photographs and the crops that are taken of them."""

    source: ImageSource = Field(
        "packaged",
        description="Where the photographs come from: installed packages, a folder of your own, or one of "
        "torchvision's data sets, downloaded where that is possible, or shards, here or by URL, as webdataset writes "
        "them. places365-small has 256 x 256 px.",
    )
    folder: str | None = Field(
        None,
        description="The path of the folder of photographs, searched with its subfolders, or where the data set is or "
        "shall be, or of webdataset's shards, which may also be paths or URLs with braces, "
        "https://host/places/{train,val,test}/{0000..0099}.tar; null if source is packaged.",
    )
    check: Literal["header", "decode"] = Field(
        "header",
        description="How each photograph is looked at before anything is trained: by its header and a thumbnail, or "
        "decoded whole, as in training, which takes half as long again.",
    )
    min_side: Count = Field(64, description="The least side of a photograph, in pixels; smaller ones are rejected.")
    max_pixels: Annotated[int, Field(ge=1, le=2**27)] = Field(
        2**26, description="The most pixels of a photograph; larger ones are rejected before they are decoded."
    )
    max_rejected: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="The fraction of all photographs above which rejected ones stop the run."
    )
    size: Annotated[int, Field(ge=16, le=8192)] = Field(
        512, description="The side of a crop as the network sees it, in pixels."
    )
    crop: Annotated[list[Share], Field(min_length=2, max_length=2)] = Field(
        [1.0, 1.0],
        description="The least and the greatest side of a crop before it is resized, as fractions of the photograph's "
        "shorter side.",
    )

    @model_validator(mode="after")
    def _consistent(self):
        if self.source != "packaged" and not self.folder:
            raise ValueError(
                f"data.folder = {self.folder!r}: data.source = {self.source} needs the path of a folder of photographs"
            )
        if self.source == "packaged" and self.folder is not None:
            raise ValueError(
                f"data.folder = {cut(repr(self.folder))}: not used with data.source = packaged; set data.folder to "
                "null, or data.source to folder or a data set"
            )
        if self.crop[0] > self.crop[1]:
            raise ValueError(f"data.crop = {self.crop}: the smaller fraction comes first")
        return self


MaskSource = Literal["drawn", "strokes", "folder", "video", "grid2", "grid4"]  # as pconv.masks.sources.SOURCES


class Masks(Section):
    """Where masks come from, what is asked of them, and how many there are for each split."""

    source: MaskSource = Field(
        "drawn",
        description="Irregular holes of lines, circles and arcs drawn with OpenCV (drawn), of brush strokes (strokes), "
        "from masks of one's own (folder) or from what is hidden between two frames of a film (video); or, for "
        "super-resolution, all but every second or every fourth pixel of every second or fourth row.",
    )
    folder: str | None = Field(
        None,
        min_length=1,
        description="The path of a folder, searched with its subfolders: of masks if source is folder, of the frames "
        "of films, one subfolder each, if it is video.",
    )
    hole: Literal["white", "black", "published"] = Field(
        "white",
        description="The colour of the hole in masks of one's own; published is black in those that train and "
        "validate and white in those that test, as PConv-Keras reads the masks published with the paper.",
    )
    border: Literal["free", "forced"] = Field(
        "forced",  # as in all runs before there was a choice; the paper's is free, and its sets say so
        description="What is asked of test masks without border constraint: nothing (free), or to reach an edge "
        "(forced).",
    )
    train: Count = Field(55116, description="The number of training masks.")
    val: Count = Field(1000, description="The number of validation masks.")
    test: Count = Field(
        1000,
        description="The number of test masks in each bin of hole ratio, counted once for holes without border "
        "constraint and once for holes that keep clear of the border; of grids, the number in all.",
    )

    @model_validator(mode="after")
    def _consistent(self):
        if self.source in ("folder", "video") and self.folder is None:
            what = "masks" if self.source == "folder" else "frames"
            raise ValueError(f"masks.folder = None: masks.source = {self.source} needs the path of a folder of {what}")
        if self.source not in ("folder", "video") and self.folder is not None:
            raise ValueError(
                f"masks.folder = {cut(repr(self.folder))}: not used with masks.source = {self.source}; set "
                "masks.folder to null, or masks.source to folder or video"
            )
        if self.source != "folder" and self.hole != "white":
            raise ValueError(f"masks.hole = {self.hole!r}: only masks.source = folder has a choice; write white")
        return self

    @property
    def spacing(self) -> int | None:
        """The distance of known pixels on a grid, None if holes are irregular."""
        return {"grid2": 2, "grid4": 4}.get(self.source)


class Model(Section):
    """The network: its layers and its size."""

    layer: Literal["partial", "plain"] = Field(
        "partial",
        description="Partial convolutions, or plain ones in the same U-Net for comparison, which see no mask.",
    )
    fill: Literal["mean", "black", "grey", "white"] = Field(
        "mean",
        description="What plain convolutions find in the hole: the mean colour of the valid pixels, or a constant. "
        "Partial convolutions see nothing of the hole.",
    )
    scale: Literal["paper", "keras", "sum"] = Field(
        "paper",
        description="What partial convolutions multiply with: C k^2 / sum(M) as in the paper, k^2 / sum(M) as in "
        "PConv-Keras, or 1 / sum(M); sum(M) is over all C channels. Plain convolutions have no such factor.",
    )
    width: Annotated[int, Field(ge=1, le=1024)] = Field(
        64, description="The number of channels after the first encoder layer; it doubles three times."
    )
    depth: Annotated[int, Field(ge=2, le=9)] = Field(
        8, description="The number of encoder layers, each of which halves the sides of the image."
    )

    @model_validator(mode="after")
    def _consistent(self):
        if self.layer == "partial" and self.fill != "mean":
            raise ValueError(f"model.fill = {self.fill!r}: only model.layer = plain sees the hole; write mean")
        if self.layer == "plain" and self.scale != "paper":
            raise ValueError(f"model.scale = {self.scale!r}: only model.layer = partial has such a factor; write paper")
        return self


class Terms(Section):
    """The weights of the loss terms."""

    valid: Weight = Field(1.0, description="The weight of the mean absolute error over the valid pixels.")
    hole: Weight = Field(6.0, description="The weight of the mean absolute error in the hole.")
    perceptual: Weight = Field(0.05, description="The weight of the mean absolute error of the VGG features.")
    style: Weight = Field(
        120.0, description="The weight of the mean absolute error of the Gram matrices of the features."
    )
    tv: Weight = Field(0.1, description="The weight of the total variation in and next to the hole.")


class Loss(Section):
    """The loss of each stage, and the network whose features two of its terms compare."""

    vgg: str = Field(
        "imagenet",
        min_length=1,
        description="The weights of the VGG-16 loss network: packaged, imagenet (a download of 528 MB), random, or the "
        "path of a file.",
    )
    stage1: Terms = Field(Terms(), description="The weights of the loss terms in the first stage.")
    stage2: Terms = Field(Terms(), description="The weights of the loss terms in the second stage.")

    def terms(self, stage: int) -> Terms:
        """Return the weights of stage 1 or 2."""
        return self.stage1 if stage == 1 else self.stage2


class Stage(Section):
    """The schedule of one stage of training."""

    lr: Rate = Field(description="Adam's learning rate in the first step.")
    lr_end: Rate | None = Field(
        None, description="The learning rate in the last step, approached linearly; null keeps it constant."
    )
    epochs: Count = Field(50, description="The number of epochs, each of which ends with a validation.")
    steps: Count = Field(10_000, description="The number of batches in an epoch.")


class Train(Section):
    """Training: what a step sees, and on what hardware."""

    batch: Count = Field(6, description="The number of crops in a batch, over all processes together.")
    recolour: bool = Field(
        False, description="Whether the colours of training crops are changed at random, for want of photographs."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="The arithmetic of the network; auto is bfloat16 where the hardware multiplies it faster."
    )
    processes: Annotated[int, Field(ge=0)] = Field(
        0, description="The number of processes that share a batch; 0 starts one for each GPU."
    )
    sync_norm: bool = Field(
        False, description="Whether batch norm uses the statistics of all GPUs together; it needs GPUs."
    )
    validation: Count = Field(1000, description="The number of validation crops.")
    workers: Annotated[int, Field(ge=0)] = Field(
        8, description="The number of processes that load crops; it changes no result."
    )
    checkpoint_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        300, description="The time between checkpoints, in seconds; it changes no result."
    )
    start: str | None = Field(
        None,
        min_length=1,
        description="The path of a file of weights from which the first stage starts; null draws them at random.",
    )
    freeze_norm: bool = Field(True, description="Whether the encoder's batch norm is frozen in the second stage.")
    stage1: Stage = Field(Stage(lr=1e-4), description="The first stage, with batch norm everywhere.")
    stage2: Stage = Field(Stage(lr=5e-5), description="The second stage, from the best weights of the first.")

    def schedule(self, stage: int) -> Stage:
        """Return the schedule of stage 1 or 2. Raises ParamsError for any other."""
        if stage not in (1, 2):
            raise ParamsError(f"stage = {cut(repr(stage))}: 1 or 2 is allowed")
        return self.stage1 if stage == 1 else self.stage2


class Evaluate(Section):
    """What the network is compared with."""

    baselines: list[Literal["mean fill", "telea", "navier-stokes", "biharmonic", "bicubic"]] = Field(
        ["mean fill", "telea", "navier-stokes"],
        min_length=1,
        description="The methods that fill the test crops for comparison; biharmonic is slow, bicubic is for "
        "masks that are grids.",
    )
    published: str | None = Field(
        None,
        min_length=1,
        description="The path of a published file of weights that is measured beside the network of this run, or null.",
    )


class Params(Section):
    """All parameters of a run. Unknown keys, wrong types and values out of range are errors."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="The seed of everything that is drawn at random: masks, crops, initial weights."
    )
    data: Data = Field(Data(), description="The photographs and the crops that are taken of them.")
    masks: Masks = Field(Masks(), description="The masks that are drawn.")
    model: Model = Field(Model(), description="The network that is trained.")
    loss: Loss = Field(Loss(), description="The loss of each stage.")
    train: Train = Field(Train(), description="How the network is trained.")
    evaluate: Evaluate = Field(Evaluate(), description="What the network is compared with.")

    @model_validator(mode="after")
    def _fits(self):
        smallest = 2 ** (self.model.depth - 1)
        if self.data.size < smallest:
            raise ValueError(
                f"data.size = {self.data.size} is too small for model.depth = {self.model.depth}: "
                f"at least {smallest} px, or a smaller depth"
            )
        # Style and total variation do not say what belongs where, and the valid term says nothing of the hole.
        for name in ("stage1", "stage2"):
            terms = getattr(self.loss, name)
            if terms.hole == terms.perceptual == 0:
                raise ValueError(
                    f"loss.{name}.hole = loss.{name}.perceptual = 0: no term compares the hole with the truth place by "
                    "place, so nothing would be learnt there; give one of them a weight above 0"
                )
        if "bicubic" in self.evaluate.baselines and self.masks.spacing is None:
            raise ValueError(
                f"evaluate.baselines has bicubic, which needs a grid of known pixels, while masks.source = "
                f"{self.masks.source}: leave it out, or set masks.source to grid2 or grid4"
            )
        self.check_batch(self.train.processes or 1)
        return self

    def check_batch(self, processes: int) -> None:
        """Raise ParamsError unless this many processes can share a batch and normalise each one's part of it."""
        train, size, depth = self.train, self.data.size, self.model.depth
        if train.batch % processes:
            raise ParamsError(
                f"train.batch = {train.batch}: {processes} processes (train.processes) cannot share it equally"
            )
        seen = train.batch if train.sync_norm else train.batch // processes
        if seen == 1 and size <= 2**depth:  # the encoder's last layer has one pixel: one value a channel
            shared = f" shared by {processes} processes" if processes > 1 else ""
            raise ParamsError(
                f"train.batch = {train.batch}{shared} with data.size = {size} and model.depth = {depth}: batch norm "
                f"needs 2 crops for each process, a size above {2**depth} px, or a smaller depth"
            )


def load_params(path: str | Path | None = None) -> Params:
    """Read and check a parameter file (default: the project's params.yaml).

    Raises ParamsError with one line for each problem: file, key path, value, what is allowed. Every key must be given.
    """
    path = Path(path) if path is not None else project_root() / "params.yaml"
    try:
        values = read_yaml(path)
    except FileError as error:
        raise ParamsError(str(error)) from None
    if not isinstance(values, dict):
        found = "nothing" if values is None else type(values).__name__
        raise ParamsError(f"{path}: expected sections such as data and model, found {found}")
    missing = list(_missing(Params, values))
    found = [f"no {cut(', '.join(missing), 300)}: a parameter file gives every key"] if missing else []
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        # Without all keys, how the sections fit together is of no interest yet: part of that would be defaults.
        found += [_describe(e) for e in error.errors() if e["type"] != "missing" and (e["loc"] or not missing)]
    if len(found) > MOST_LINES:
        found[MOST_LINES - 1 :] = [f"and {len(found) - MOST_LINES + 1} problems more"]
    if found:
        raise ParamsError("\n".join(f"{path}: {line}" for line in found))
    return params


def _missing(section: type[Section], values: dict, prefix: str = ""):
    """Yield the key paths that a section has and a file has not; a section that is missing counts as one."""
    for name, field in section.model_fields.items():
        if name not in values:
            yield f"{prefix}{name}"
        elif isinstance(values[name], dict) and _is_section(field.annotation):
            yield from _missing(field.annotation, values[name], f"{prefix}{name}.")


def _is_section(annotation) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def flat(values: dict, prefix: str = "") -> dict:
    """Return {"loss": {"vgg": "random"}} as {"loss.vgg": "random"}."""
    found = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


HINTS = {  # to what pydantic says of a type
    "bool_type": "; write true or false",
    "float_type": "; write it without quotes",
    "int_type": "; write it without quotes, decimals and exponent",
    "string_type": "; write it in quotes",
}


def _describe(error) -> str:
    """Return one line for one of pydantic's errors: key path, value, what is allowed."""
    loc, message = error["loc"], error["msg"].removeprefix("Value error, ")
    key, value = cut(".".join(map(str, loc))), cut(repr(error["input"]))
    if error["type"] in ("extra_forbidden", "invalid_key"):
        allowed = sorted(_fields(loc[:-1]))
        near = difflib.get_close_matches(str(loc[-1])[:80], allowed, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{key}: unknown key; {hint}allowed here: {', '.join(allowed)}"
    if error["type"] == "model_type":
        return f"{key} = {value}: expected a section with {', '.join(_fields(loc))}"
    if error["type"] == "value_error":  # raised by a section's own check, which names its keys
        return message
    return f"{key} = {value}: {message[0].lower()}{message[1:]}{HINTS.get(error['type'], '')}"


def _fields(loc) -> list[str]:
    """Return the names that the section at a key path allows."""
    section = Params
    for part in loc:
        section = section.model_fields[part].annotation
    return list(section.model_fields)


def use(source: Path, target: Path) -> None:
    """Validate a parameter set and copy it over params.yaml, unless edits there would be lost.

    Raises ParamsError; the target is then as it was.
    """
    load_params(source)
    try:
        content = read_small(source, MOST_BYTES)
        before = read_small(target, MOST_BYTES) if target.exists() else None
        if before not in (None, content, *_kept(target)):
            raise ParamsError(
                f"{target}: has edits that are saved nowhere else; commit them or copy them into params/ first"
            )
        if before is not None and not os.access(target, os.W_OK):
            raise PermissionError(None, "Permission denied")
        if before != content:
            write_file(target, content)
    except OSError as error:
        raise ParamsError(f"{target}: cannot be replaced: {error.strerror}") from None


def _kept(target: Path):
    """Yield what the target may hold without being the only copy: what is committed, and the sets in params/."""
    command = ["git", "show", f"HEAD:./{target.name}"]
    with suppress(FileNotFoundError):  # no git: then nothing is committed
        yield subprocess.run(command, cwd=target.parent, capture_output=True).stdout
    for path in sorted((target.parent / "params").glob("*.yaml")):
        with suppress(OSError):
            yield read_small(path, MOST_BYTES)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pconv.params params/NAME.yaml")
    try:
        use(Path(sys.argv[1]), project_root() / "params.yaml")
    except (ParamsError, OSError) as error:
        sys.exit(str(error))
