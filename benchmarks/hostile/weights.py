"""Files of weights: of the network, and of the loss network that loss.vgg names."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from hostile import refused, right, table
from pconv.unet import PConvUNet, he_init, load_model, save_model
from pconv.vgg import VGGFeatures

NETWORK, VGG = "weights of the network", "weights of VGG"
SIZE = {"width": 2, "depth": 3}


@cache
def tensors() -> dict[str, Tensor]:
    """Return the state of a small network."""
    return he_init(PConvUNet(**SIZE), 0).state_dict()


@cache
def vgg_tensors() -> dict[str, Tensor]:
    """Return random weights under torchvision's names."""
    return {f"features.{name}": value for name, value in VGGFeatures("random").features.state_dict().items()}


def first(state: dict[str, Tensor]) -> str:
    """Return the name of the first convolution's weights."""
    return next(name for name, tensor in state.items() if tensor.dim() == 4)


def about(model=SIZE) -> dict[str, str]:
    """Return metadata as save_model writes them, of a network of this size."""
    return {"pconv": json.dumps({"params": {"model": model}})}


@cache
def network_file(metadata: str | None = None) -> bytes:
    """Return a file of a network; its metadata are those of its size unless others are given."""
    return save(tensors(), about() if metadata is None else {"pconv": metadata})


@cache
def vgg_file() -> bytes:
    """Return a file of VGG's weights."""
    return save(vgg_tensors())


def raw(header: bytes | dict, body: bytes = b"") -> bytes:
    """Return a safetensors file of this header, whatever it says."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + body


def entry(dtype: str, shape: list, end: int) -> dict:
    """Return a header with one tensor, beside metadata that are right."""
    return {
        "__metadata__": about(),
        "encoder.0.conv.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]},
    }


def load(folder: Path, content: bytes) -> None:
    """Load a network from a file of this content, which is a whole one."""
    path = folder / "net.safetensors"
    path.write_bytes(content)
    state = load_model(path).state_dict()
    assert all(torch.allclose(state[name], tensor, atol=1e-2) for name, tensor in tensors().items())


def load_changed(folder: Path, *change) -> None:
    """Load a network whose file has other tensors: `change` as for `changed`."""
    load(folder, save(changed(tensors(), *change), about()))


def see(folder: Path, content: bytes, name: str = "vgg.safetensors") -> None:
    """Take VGG's weights from a file of this content, which is a whole one."""
    path = folder / name
    path.write_bytes(content)
    state = VGGFeatures(str(path)).features.state_dict()
    assert all(torch.allclose(state[name], vgg_tensors()[f"features.{name}"], atol=1e-2) for name in state)


def see_changed(folder: Path, *change) -> None:
    """Take VGG's weights from a file with other tensors: `change` as for `changed`."""
    see(folder, save(changed(vgg_tensors(), *change)))


def changed(state: dict[str, Tensor], change, name: str | None = None) -> dict[str, Tensor]:
    """Return a state with one tensor changed, by default the first convolution's; it goes if the change gives None."""
    name = name or first(state)
    return {key: value for key, value in (state | {name: change(state[name].clone())}).items() if value is not None}


def with_value(value: float):
    """Return a change of a tensor's first value."""

    def change(tensor: Tensor) -> Tensor:
        tensor.view(-1)[0] = value
        return tensor

    return change


NAMED = r"(net|vgg)\.safetensors: "
DAMAGED = rf"{NAMED}.{{10,}}; .{{10,}}"  # what is wrong; what to do
FILES = {
    "empty": (b"", DAMAGED),
    "four bytes": (b"\x00\x01\x02\x03", DAMAGED),
    "text": (b"weights of a network", DAMAGED),
    "zeros": (bytes(10_000), DAMAGED),
    "a header of 2^62 bytes": ((2**62).to_bytes(8, "little") + b"{}", DAMAGED),
    "a header of 10 MB": (raw(b"{" + b" " * 10_000_000 + b"}"), DAMAGED),
    "a header that is no JSON": (raw(b"{weights}"), DAMAGED),
    "a header that is a list": (raw(b"[1, 2]"), DAMAGED),
    "a header of 100,000 brackets": (raw(b'{"a":' * 100_000), DAMAGED),
    "a header that is not in UTF-8": (raw(b'{"\xff": 1}'), DAMAGED),
    "a header without tensors": (raw({"__metadata__": about()}), DAMAGED),
    "an unknown type": (raw(entry("F9", [1], 4), bytes(4)), DAMAGED),
    "a shape below 0": (raw(entry("F32", [-1], 4), bytes(4)), DAMAGED),
    "a shape of 10^18": (raw(entry("F32", [10**9, 10**9], 4), bytes(4)), DAMAGED),
    "a shape that overflows": (raw(entry("F32", [2**63, 2**63], 4), bytes(4)), DAMAGED),
    "content beyond the end": (raw(entry("F32", [1000], 4000), bytes(4)), DAMAGED),
    "more content than tensors": (raw(entry("F32", [1], 4), bytes(4000)), DAMAGED),
    "a pickle": (pickle.dumps({"a": 1}), DAMAGED),
}
PARTS = (0.001, 0.01, 0.1, 0.5, 0.999)


def cut_short(content: bytes) -> dict:
    """Return rows for the first part of a file."""
    return {f"the first {part:.1%}": (content[: int(part * len(content))], DAMAGED) for part in PARTS}


TENSORS = {
    "a tensor too few": (lambda tensor: None, rf"{NAMED}.*missing"),
    "another shape": (lambda tensor: tensor[:1], rf"{NAMED}.*shape"),
    "no value": (lambda tensor: tensor[:0], rf"{NAMED}.*shape"),
    "one dimension more": (lambda tensor: tensor[None], rf"{NAMED}.*shape"),
    "integers": (lambda tensor: tensor.int(), rf"{NAMED}.*type"),
    "bool": (lambda tensor: tensor.bool(), rf"{NAMED}.*type"),
    "complex": (lambda tensor: tensor.cfloat(), rf"{NAMED}.*type"),
    "NaN": (with_value(torch.nan), rf"{NAMED}.*not finite"),
    "infinity": (with_value(torch.inf), rf"{NAMED}.*not finite"),
    "1e300 in float64": (lambda tensor: with_value(1e300)(tensor.double()), rf"{NAMED}.*not finite"),
    "all zero": (torch.zeros_like, rf"{NAMED}.*all zero"),
    "float16": (lambda tensor: tensor.half(), None),
    "bfloat16": (lambda tensor: tensor.bfloat16(), None),
    "float64": (lambda tensor: tensor.double(), None),
}
table(NETWORK, load, {"whole": (network_file(), None)} | FILES | cut_short(network_file()))
table(NETWORK, load_changed, TENSORS)
table(VGG, see, {"whole": (vgg_file(), None)} | FILES | cut_short(vgg_file()))
table(VGG, see_changed, TENSORS)
NORM = "encoder.1.norm.running_var"
table(NETWORK, load_changed, {"a variance below 0": (with_value(-1.0), NORM, rf"{NAMED}.*running_var.*below 0")})


@refused(NETWORK, "a tensor too many", rf"{NAMED}.*unknown")
def _(folder):
    load(folder, save(tensors() | {"encoder.9.conv.weight": torch.ones(1)}, about()))


METADATA = {
    "none": (save(tensors()), rf"{NAMED}.*metadata"),
    "others": (save(tensors(), {"format": "pt"}), rf"{NAMED}.*metadata"),
    "no JSON": (network_file("width 2"), rf"{NAMED}.*metadata"),
    "a list": (network_file("[1]"), rf"{NAMED}.*metadata"),
    "a number": (network_file("1"), rf"{NAMED}.*metadata"),
    "100,000 brackets": (network_file("[" * 100_000), rf"{NAMED}.*metadata"),
    "no parameters": (network_file("{}"), rf"{NAMED}.*metadata"),
    "parameters without a model": (network_file('{"params": {}}'), rf"{NAMED}.*metadata"),
    "parameters that are null": (network_file('{"params": null}'), rf"{NAMED}.*metadata"),
}
SIZES = {"width": (0, -1, 10**12, 1.5, "2", True, None, "nan", [2]), "depth": (0, 1, 10, 10**9, "3", None)}
for key, values in SIZES.items():
    for value in values:
        METADATA[f"{key} {value!r}"] = (save(tensors(), about(SIZE | {key: value})), rf"{NAMED}.*metadata.*{key}")
    METADATA[f"no {key}"] = (save(tensors(), about({k: v for k, v in SIZE.items() if k != key})), rf"{NAMED}.*metadata")
METADATA |= {
    "another width": (save(tensors(), about(SIZE | {"width": 4})), rf"{NAMED}.*shape"),
    "the greatest size": (save(tensors(), about({"width": 1024, "depth": 9})), rf"{NAMED}.*missing"),
    "another depth": (save(tensors(), about(SIZE | {"depth": 4})), rf"{NAMED}.*missing"),
    "a key more": (save(tensors(), about(SIZE | {"height": 4})), rf"{NAMED}.*metadata.*height"),
}
table(NETWORK, load, {f"metadata: {name}": row for name, row in METADATA.items()})


def readers():
    """Yield what reads weights: kind, the file's name, the reader of a path."""
    yield NETWORK, "net.safetensors", load_model
    yield VGG, "vgg.safetensors", lambda path: VGGFeatures(str(path))
    yield VGG, "vgg.pth", lambda path: VGGFeatures(str(path))


for kind, name, read in readers():

    @refused(kind, f"no {name}", rf"{name}: no such file|{name}: No such file")
    def _(folder, name=name, read=read):
        read(folder / name)

    @refused(kind, f"{name} is a folder", rf"{name}: This is a folder")
    def _(folder, name=name, read=read):
        (folder / name).mkdir()
        read(folder / name)

    @refused(kind, f"{name} is a FIFO", rf"{name}: Not a regular file")
    def _(folder, name=name, read=read):
        os.mkfifo(folder / name)
        read(folder / name)

    @refused(kind, f"{name} is a link to itself", rf"{name}: Too many levels of symbolic links")
    def _(folder, name=name, read=read):
        (folder / name).symlink_to(name)
        read(folder / name)

    @refused(kind, f"{name} of 100 GB, with a hole", rf"{name}: .{{10,}}")
    def _(folder, name=name, read=read):
        with open(folder / name, "wb") as file:
            file.truncate(100 * 2**30)
        read(folder / name)


@refused(NETWORK, "a file of torch.save", r"net\.safetensors: .*safetensors")
def _(folder):
    torch.save(tensors(), folder / "net.safetensors")
    load_model(folder / "net.safetensors")


@right(NETWORK, "a link, and a name that is not in UTF-8")
def _(folder):
    path = Path(os.fsdecode(os.fsencode(folder) + b"/n\xe9t.safetensors"))
    save_model(path, tensors(), {"params": {"model": SIZE}})
    (folder / "link").symlink_to(path)
    load_model(folder / "link")


@right(NETWORK, "written twice, the same bytes")
def _(folder):
    for name in "ab":
        save_model(folder / name, tensors(), {"params": {"model": SIZE}, "stage": 1})
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


# State dicts of torch.save


class Harmful:
    """Writes a file if it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("harmed",)


def unpickled(folder: Path, content) -> None:
    """Take VGG's weights from what torch.save wrote."""
    torch.save(content, folder / "vgg.pth")
    try:
        VGGFeatures(str(folder / "vgg.pth"))
    finally:
        assert not (folder / "harmed").exists(), "code of the file was run"


PTH_NAMED = r"vgg\.pth: "
PTH = rf"{PTH_NAMED}.{{10,}}; .{{10,}}"
STATES = {
    "a list": ([1], PTH),
    "a tensor": (torch.ones(1), PTH),
    "an empty dict": ({}, rf"{PTH_NAMED}.*missing"),
    "nested": ({"state_dict": vgg_tensors()}, PTH),
    "a text": (vgg_tensors() | {"note": "mine"}, PTH),
    "code": ({"features.0.weight": Harmful()}, PTH),
    "a whole network": (torch.nn.Conv2d(1, 1, 1), PTH),
    "a sparse tensor": (vgg_tensors() | {first(vgg_tensors()): vgg_tensors()[first(vgg_tensors())].to_sparse()}, PTH),
    "NaN": (changed(vgg_tensors(), with_value(torch.nan)), rf"{PTH_NAMED}.*not finite"),
    "as torchvision has it": (vgg_tensors() | {"classifier.0.weight": torch.ones(3, 3)}, None),
    "without the prefix": ({name.removeprefix("features."): tensor for name, tensor in vgg_tensors().items()}, None),
}
table(VGG, unpickled, {f"torch.save: {name}": row for name, row in STATES.items()})


@refused(VGG, "safetensors under the name of a pickle", PTH)
def _(folder):
    see(folder, vgg_file(), "vgg.pth")


@refused(VGG, "torch.save: the first half", PTH)
def _(folder):
    torch.save(vgg_tensors(), folder / "vgg.pth")
    see(folder, (folder / "vgg.pth").read_bytes()[:2_000_000], "vgg.pth")


@refused(VGG, "torch.save: compressed", PTH)
def _(folder):
    torch.save(vgg_tensors(), folder / "plain.pth")
    plain = zipfile.ZipFile(folder / "plain.pth")
    with zipfile.ZipFile(folder / "vgg.pth", "w", zipfile.ZIP_DEFLATED) as small:
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    VGGFeatures(str(folder / "vgg.pth"))


table(VGG, lambda folder, source: VGGFeatures(source), {
    "an empty name": ("", r"loss\.vgg = ?: .*packaged"),
    "a name with a null": ("vgg\0.safetensors", r"loss\.vgg = .*packaged"),
    "a name of 5,000 letters": ("v" * 5000, r"loss\.vgg = .*packaged"),
    "Packaged": ("Packaged", r"loss\.vgg = Packaged: no such file.*packaged"),
    "packaged": ("packaged", None),
    "random": ("random", None),
})  # fmt: skip
