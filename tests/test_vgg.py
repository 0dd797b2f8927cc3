"""VGG-16 up to pool3 is torchvision's, and every source of its weights is checked before it is used."""

import hashlib
import io
import os
import pickle
import urllib.request
from email.message import Message
from importlib.resources import files
from pathlib import Path
from urllib.error import URLError
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torchvision.models import VGG16_Weights
from torchvision.transforms import v2

from pconv.data.decoding import read_image
from pconv.data.packages import packaged_photographs
from pconv.data.tensors import to_tensor
from pconv.tensors import WeightsError
from pconv.vgg import VGGFeatures, weights_file

POOLS = (4, 9, 16)  # their numbers in torchvision's vgg16().features
SHAPES = {
    f"features.{number}.{kind}": (width, channels, 3, 3) if kind == "weight" else (width,)
    for number, width, channels in (
        (0, 64, 3),
        (2, 64, 64),
        (5, 128, 64),
        (7, 128, 128),
        (10, 256, 128),
        (12, 256, 256),
        (14, 256, 256),
    )
    for kind in ("weight", "bias")
}


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(scope="module")
def weights():
    """Return a state dict with torchvision's keys, up to pool3, of a size that keeps features near 1."""
    return {
        name: random(*shape, seed=i) * (2 / (9 * shape[1])) ** 0.5 if len(shape) == 4 else 0.1 * random(*shape, seed=i)
        for i, (name, shape) in enumerate(SHAPES.items())
    }


@pytest.fixture
def path(weights, tmp_path):
    torch.save(weights, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.fixture(scope="module")
def photographs():
    """Crops of 160 px of every fifth packaged photograph, (N, 3, 160, 160) in [0, 1]."""
    images = [read_image(Path(files(row.package) / row.file)) for row in packaged_photographs()[::5]]
    crops = [to_tensor(image[:160, :160]) for image in images]
    return torch.stack(crops)


# The network


def test_features_are_those_of_torchvision(weights, path):
    """torchvision's own module, with hooks on its pools and its own standardisation of the input."""
    with torch.device("meta"):
        theirs = torchvision.models.vgg16(weights=None, init_weights=False).features
    theirs = theirs.to_empty(device="cpu").double()
    missing, _ = theirs.load_state_dict({k.removeprefix("features."): v for k, v in weights.items()}, strict=False)
    assert all(int(name.split(".")[0]) > POOLS[-1] for name in missing)
    seen = {}
    for number in POOLS:
        theirs[number].register_forward_hook(lambda module, inputs, out, number=number: seen.update({number: out}))
    image = torch.rand(2, 3, 41, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        theirs(v2.functional.normalize(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        ours = VGGFeatures(str(path)).double()(image)
    assert [tuple(x.shape) for x in ours] == [(2, 64, 20, 25), (2, 128, 10, 12), (2, 256, 5, 6)]
    for number, x in zip(POOLS, ours, strict=True):
        torch.testing.assert_close(x, seen[number], rtol=1e-6, atol=1e-6)  # mean and std are kept in float32


def test_smallest_image():
    assert [tuple(x.shape[2:]) for x in VGGFeatures("random")(torch.rand(1, 3, 8, 8))] == [(4, 4), (2, 2), (1, 1)]


def test_vgg_is_frozen_and_left_out_of_training():
    vgg = VGGFeatures("random")
    assert not any(p.requires_grad for p in vgg.parameters())
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    before = image.detach().clone()
    vgg(image)[-1].sum().backward()
    assert image.grad.abs().sum() > 0 and torch.equal(image.detach(), before)


@pytest.mark.parametrize(
    "source, mean, std",
    [
        ("packaged", (0.48235, 0.45882, 0.40784), (1, 1, 1)),
        ("random", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("path", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_each_source_has_its_own_standardisation(source, mean, std, path):
    """An image of the mean colour becomes 0, so the first layer is its bias; one standard deviation more becomes 1."""
    vgg = VGGFeatures(str(path) if source == "path" else source)
    seen = []
    vgg.features[0].register_forward_hook(lambda module, inputs, out: seen.append(inputs[0].clone()))
    mean, std = (
        torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 8, 8) for values in (mean, std)
    )
    vgg(mean)
    vgg(mean + std)
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 8, 8))
    torch.testing.assert_close(seen[1], torch.ones(1, 3, 8, 8))


# packaged


def test_packaged_file_has_torchvisions_keys_and_shapes():
    stored = load_file(str(files("pconv") / "weights" / "vgg16_pool3.safetensors"))
    assert {name: tuple(value.shape) for name, value in stored.items()} == SHAPES
    assert all(value.dtype == torch.float16 and value.isfinite().all() for value in stored.values())
    assert sum(value.numel() for value in stored.values()) == 1_735_488


def test_packaged_features_have_unit_root_mean_square(photographs):
    """After every convolution and its ReLU, layer by layer with F.conv2d; the file is scaled on other photographs."""
    stored = load_file(str(files("pconv") / "weights" / "vgg16_pool3.safetensors"))
    x = photographs - torch.tensor([0.48235, 0.45882, 0.40784]).view(3, 1, 1)
    scales = {}
    for number in range(17):
        if f"features.{number}.weight" in stored:
            weight, bias = (stored[f"features.{number}.{kind}"].float() for kind in ("weight", "bias"))
            x = F.conv2d(x, weight, bias, padding=1).relu()
            scales[number] = x.square().mean().sqrt().item()
        elif number in POOLS:
            x = F.max_pool2d(x, 2)
    assert len(scales) == 7 and all(0.6 < scale < 1.6 for scale in scales.values()), scales
    torch.testing.assert_close(VGGFeatures("packaged")(photographs)[-1], x)


def test_packaged_weights_are_trained():
    """Neighbouring weights of the filters of the first layer go together; those of a random layer do not."""
    for source, least, most in (("packaged", 0.3, 1), ("random", -0.1, 0.1)):
        filters = VGGFeatures(source).features[0].weight
        pairs = torch.stack([filters[..., 1:].flatten(), filters[..., :-1].flatten()])
        assert least < torch.corrcoef(pairs)[0, 1].item() < most


def test_packaged_weights_come_with_their_notice():
    notice = (files("pconv") / "weights" / "README.md").read_text()
    for part in ("Creative Commons Attribution 4.0", "CC BY 4.0", "Karen Simonyan", "Andrew Zisserman", "Changes made"):
        assert part in notice
    assert "https://creativecommons.org/licenses/by/4.0/" in notice and "1409.1556" in notice


# random


def test_random_weights_are_the_same_each_time_and_draw_nothing_from_the_global_generator():
    state = torch.random.get_rng_state()
    first, second = VGGFeatures("random").state_dict(), VGGFeatures("random").state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_random_weights_are_hes():
    state = VGGFeatures("random").features.state_dict()
    for name, value in state.items():
        if name.endswith("bias"):
            assert (value == 0).all()
        else:
            assert value.std().item() == pytest.approx((2 / (9 * value.shape[1])) ** 0.5, rel=0.05)


# A path


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "weights.pt"])
@pytest.mark.parametrize("prefix", ["features.", ""])
def test_file(name, prefix, weights, tmp_path):
    """A whole VGG-16's keys, or those of its features alone; layers that are not needed are passed over."""
    renamed = {prefix + key.removeprefix("features."): value for key, value in weights.items()}
    renamed |= {"classifier.0.weight": torch.zeros(2, 2)}
    (save_file if name.endswith("safetensors") else torch.save)(renamed, tmp_path / name)
    loaded = VGGFeatures(str(tmp_path / name)).features.state_dict()
    assert len(loaded) == len(weights)
    for key, value in loaded.items():
        assert torch.equal(value, weights[f"features.{key}"])


def test_half_precision_file_becomes_float32(weights, tmp_path):
    save_file({name: value.half() for name, value in weights.items()}, tmp_path / "half.safetensors")
    loaded = VGGFeatures(str(tmp_path / "half.safetensors")).state_dict()
    assert all(value.dtype == torch.float32 for value in loaded.values())


def refuse(source, message):
    """Check that a source gives one short line that matches and says what is allowed."""
    with pytest.raises(WeightsError, match=message) as caught:
        VGGFeatures(str(source))
    said = str(caught.value)
    assert len(said.splitlines()) == 1 and len(said) < 600 and "packaged" in said


class Malicious:
    """Unpickling it would write a file."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_code_in_a_file_is_not_run(save, name, weights, tmp_path):
    save(dict(weights, evil=Malicious(tmp_path / "executed")), tmp_path / name)
    said = "neither a whole file of torch.save" if name.endswith("pth") else "not a whole safetensors file"
    refuse(tmp_path / name, f"{name}: {said}")
    assert not (tmp_path / "executed").exists()


CHANGES = {
    "a layer too few": ({"features.12.bias": None}, "missing: features.12.bias; loss.vgg is one of packaged, imagenet"),
    "a wrong shape": (
        {"features.5.weight": torch.ones(128, 64, 5, 5)},
        r"of another shape: features.5.weight \(128, 64, 5, 5\) instead of \(128, 64, 3, 3\)",
    ),
    "integers": ({"features.0.bias": torch.ones(64).int()}, "of another type: features.0.bias torch.int32"),
    "NaN": ({"features.0.bias": torch.full((64,), torch.nan)}, "not finite: features.0.bias"),
    "infinity": ({"features.0.bias": torch.full((64,), torch.inf)}, "not finite: features.0.bias"),
    "beyond float32": (
        {"features.0.bias": torch.full((64,), 1e99, dtype=torch.float64)},
        "not finite: features.0.bias",
    ),
    "zeros": ({"features.14.weight": torch.zeros(256, 256, 3, 3)}, "all zero: features.14.weight"),
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("case", CHANGES)
def test_weights_that_are_of_no_use_are_named(case, suffix, weights, tmp_path):
    changes, message = CHANGES[case]
    changed = {name: value for name, value in (weights | changes).items() if value is not None}
    (save_file if suffix == "safetensors" else torch.save)(changed, tmp_path / f"weights.{suffix}")
    refuse(tmp_path / f"weights.{suffix}", f"weights.{suffix}: {message}")


def test_biases_may_be_zero(weights, tmp_path):
    save_file({n: v if v.dim() == 4 else 0 * v for n, v in weights.items()}, tmp_path / "weights.safetensors")
    assert not VGGFeatures(str(tmp_path / "weights.safetensors")).features[0].bias.any()


@pytest.mark.parametrize("kind", ["sparse", "meta", "expanded"])
def test_tensors_without_all_their_memory(kind, weights, tmp_path):
    tensor = {
        "sparse": torch.ones(64).to_sparse(),
        "meta": torch.ones(64, device="meta"),
        "expanded": torch.ones(1).expand(10**9, 10**9),
    }[kind]
    torch.save(weights | {"features.0.bias": tensor}, tmp_path / "weights.pth")
    refuse(tmp_path / "weights.pth", "weights.pth: (neither a whole|of another (type|shape): features.0.bias)")


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_a_file_of_the_format_before_zip(weights, tmp_path):
    """As torchvision's own VGG-16 is."""
    torch.save(weights, tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(VGGFeatures(str(tmp_path / "weights.pth")).features[0].weight, weights["features.0.weight"])


def test_a_compressed_file_is_not_unpacked(path, tmp_path):
    """Its pickle could be larger than memory."""
    with ZipFile(path) as plain, ZipFile(tmp_path / "bomb.pth", "w", ZIP_DEFLATED) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    refuse(tmp_path / "bomb.pth", "bomb.pth: neither a whole file of torch.save")


@pytest.mark.parametrize(
    "content", [torch.zeros(3), {"state_dict": {"a": torch.zeros(1)}}, {"epoch": 3}, [torch.zeros(1)]]
)
def test_not_a_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "weights.pth")
    refuse(tmp_path / "weights.pth", r"weights\.pth: not a state dict, names to tensors")


def test_no_such_file(tmp_path):
    allowed = "one of packaged, imagenet, random, or the path of a file$"
    refuse(tmp_path / "vgg.pth", f"^loss.vgg = {tmp_path}/vgg.pth: no such file; {allowed}")
    refuse("Packaged", f"^loss.vgg = Packaged: no such file; {allowed}")
    refuse(tmp_path, f"^loss.vgg = {tmp_path}: This is a folder, not a file; {allowed}")
    refuse("a\0b", f"loss.vgg = a.x00b': embedded null byte; {allowed}")
    refuse("a" * 5000, f"^loss.vgg = a+…: File name too long; {allowed}")
    os.mkfifo(tmp_path / "pipe")
    refuse(tmp_path / "pipe", f"pipe: Not a regular file; {allowed}")


def test_a_relative_path_starts_at_the_projects_root(tiny, weights, monkeypatch):
    save_file(weights, tiny / "mine.safetensors")
    (tiny / "notebooks").mkdir()
    monkeypatch.chdir(tiny / "notebooks")
    assert torch.equal(VGGFeatures("mine.safetensors").features[0].weight, weights["features.0.weight"])
    assert weights_file("mine.safetensors") == tiny.folder.resolve() / "mine.safetensors"
    monkeypatch.chdir("/")  # outside of any project it is one of the working directory
    refuse("mine.safetensors", "^loss.vgg = mine.safetensors: no such file")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_damaged_file(suffix, weights, tmp_path):
    """Cut short, empty, another kind of file, or with some bytes changed: always a WeightsError that names it."""
    path = tmp_path / f"weights.{suffix}"
    small = {name: value[:1].clone() for name, value in weights.items()}
    (save_file if suffix == "safetensors" else torch.save)(small, path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    damaged = [whole[:length] for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1)] + [
        b"not weights\n" * 99
    ]
    for _ in range(100):
        changed = bytearray(whole)
        for place in rng.integers(300, size=5):
            changed[place] = rng.integers(256)
        damaged.append(bytes(changed))
    for content in damaged:
        path.write_bytes(content)
        refuse(path, f"weights.{suffix}: ")  # also where it can be read: the shapes are wrong


# imagenet: torchvision's own loading and cache


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Make an empty cache of torchvision's; returns the path of VGG-16's file in it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints" / Path(VGG16_Weights.IMAGENET1K_V1.url).name


def serve(monkeypatch, answer):
    """Let urlopen answer with bytes, or raise what it is given; returns the addresses that were asked for."""
    asked = []

    def urlopen(request, *args, **kwargs):
        asked.append(request.full_url)
        if isinstance(answer, Exception):
            raise answer
        response = io.BytesIO(answer)
        response.info = Message
        return response

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(torch.hub, "urlopen", urlopen)
    return asked


@pytest.mark.parametrize(
    "error", [URLError("Name or service not known"), ConnectionResetError("reset"), TimeoutError("slow")]
)
def test_imagenet_without_a_network_says_what_to_do(error, cache, monkeypatch):
    asked = serve(monkeypatch, error)
    with pytest.raises(WeightsError) as raised:
        VGGFeatures("imagenet")
    url = VGG16_Weights.IMAGENET1K_V1.url
    assert asked == [url]
    for part in (f"could not download {url}", f"put that file into {cache.parent}", "loss.vgg: packaged", str(error)):
        assert part in str(raised.value)


def test_imagenet_with_a_wrong_checksum(cache, monkeypatch):
    """What came is not the file that was asked for: nothing is kept, and the message says so."""
    serve(monkeypatch, b"<html>Please log in</html>")
    with pytest.raises(WeightsError, match="invalid hash value.*loss.vgg: packaged"):
        VGGFeatures("imagenet")
    assert not cache.exists()


def test_imagenet_from_the_cache(cache, weights, monkeypatch):
    asked = serve(monkeypatch, URLError("no network"))
    cache.parent.mkdir(parents=True)
    torch.save(weights | {"classifier.6.bias": torch.zeros(1000)}, cache)
    vgg = VGGFeatures("imagenet")
    assert not asked
    assert all(torch.equal(value, weights[f"features.{key}"]) for key, value in vgg.features.state_dict().items())
    assert vgg.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert vgg.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])


def test_imagenet_is_downloaded_once(cache, weights, monkeypatch):
    """A file whose checksum is in its name, as torchvision's: asked for once, then read from the cache."""
    file = io.BytesIO()
    torch.save(weights, file)
    digest = hashlib.sha256(file.getvalue()).hexdigest()[:8]
    asked = serve(monkeypatch, file.getvalue())
    other = type("Weights", (), {"url": f"https://example.org/vgg16-{digest}.pth"})
    monkeypatch.setattr(VGG16_Weights.IMAGENET1K_V1, "_value_", other, raising=False)
    for _ in range(2):
        vgg = VGGFeatures("imagenet")
    assert len(asked) == 1
    assert torch.equal(vgg.features[0].weight, weights["features.0.weight"])


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 cut short"])
def test_damaged_file_in_the_cache(content, cache):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content)
    with pytest.raises(WeightsError) as raised:
        VGGFeatures("imagenet")
    for part in (str(cache), "remove it", "loss.vgg: packaged"):
        assert part in str(raised.value)


def test_other_weights_in_the_cache(cache, tmp_path):
    cache.parent.mkdir(parents=True)
    torch.save({"fc.weight": torch.zeros(2)}, cache)
    refuse("imagenet", "missing: features.0.weight, ")
    torch.save(torch.zeros(2), cache)
    refuse("imagenet", "not a state dict")
    torch.save({"a": Malicious(tmp_path / "executed")}, cache)
    refuse("imagenet", "is not torchvision's VGG16")
    assert not (tmp_path / "executed").exists()
