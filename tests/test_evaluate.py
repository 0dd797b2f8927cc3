"""The evaluation on a small made project: which crops, and what is measured."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pconv import evaluate, metrics
from pconv.data.decoding import read_image, write_image
from pconv.data.selection import write_manifests
from pconv.masks.convention import BINS, bin_name, thickness
from pconv.masks.files import write_hole
from pconv.masks.sets import write_masks
from pconv.masks.tensors import mask_to_hole
from pconv.params import Params
from pconv.perceptual import PerceptualDistance
from pconv.project import mask_folder
from pconv.tensors import WeightsError
from pconv.unet import PConvUNet, he_init, save_model

NAMES = [bin_name(bounds) for bounds in BINS]
SIZE, PER_GROUP = 32, 2
CPU = torch.device("cpu")


class Method(nn.Module):
    """What stands in for a network: it reaches every pixel."""

    def reached(self, mask):
        return torch.ones_like(mask)


class Perfect(Method):
    """Knows the truth: returns it in the hole, and something wrong where valid, which must not count."""

    def __init__(self, crops):
        super().__init__()
        self.truths = {crop.mask.numpy().tobytes(): crop.gt for crop in crops}

    def forward(self, image, mask):
        truth = torch.stack([self.truths[m.numpy().tobytes()] for m in mask])
        return torch.where(mask > 0, 0.123, truth)


class Constant(Method):
    """Returns one value everywhere, except `odd` in the crop whose mask is `where`."""

    def __init__(self, value, odd=None, where=None):
        super().__init__()
        self.value, self.odd, self.where = value, odd, where

    def forward(self, image, mask):
        out = torch.full_like(image, self.value)
        for i, one in enumerate(mask):
            if self.where is not None and torch.equal(one, self.where):
                out[i] = self.odd
        return out


class Spy(Method):
    """Returns the image that it is given and keeps it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image, mask):
        assert not self.training and not torch.is_grad_enabled() and image.dtype == torch.float32
        self.seen.append((image, mask))
        return image


def make_params(**evaluate):
    return Params.model_validate(
        {
            "data": {"source": "folder", "folder": "photographs", "min_side": 1, "size": SIZE, "crop": [0.4, 0.9]},
            "masks": {"train": 1, "val": 1, "test": PER_GROUP},
            "model": {"width": 4, "depth": 3},
            "evaluate": {"baselines": ["mean fill", "navier-stokes"], **evaluate},
        }
    )


@pytest.fixture
def params(tmp_path, monkeypatch):
    """Return a project with five photographs, three of them for the test, and masks of every bin."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for i, split in enumerate(["train", "val", "test", "test", "test"]):
        folder = tmp_path / "photographs" / split
        folder.mkdir(parents=True, exist_ok=True)
        ramp = np.linspace(0, 150, 60)[:, None, None] + np.linspace(0, 50, 70)[:, None]
        write_image(folder / f"{i}.png", (ramp * (1 - i / 8) + rng.integers(0, 50, (60, 70, 3))).astype(np.uint8))
    params = make_params()
    write_manifests(params.data)
    write_masks(params)
    return params


# Crops


def test_one_crop_per_mask_with_the_photographs_in_turn(params):
    crops = evaluate.Crops(params)
    assert len(crops) == len(BINS) * 2 * PER_GROUP == len(list(crops))
    assert [crop.photograph for crop in crops][:4] == ["test/2.png", "test/3.png", "test/4.png", "test/2.png"]
    for crop in crops:
        low, high = map(float, crop.bin.split("-"))
        assert crop.gt.shape == (3, SIZE, SIZE) and crop.gt.dtype == torch.float32 and 0 <= crop.gt.min()
        assert crop.mask.shape == (1, SIZE, SIZE) and set(crop.mask.unique().tolist()) == {0, 1}
        assert low < crop.hole_ratio <= high and crop.hole_ratio == pytest.approx(1 - crop.mask.mean().item())
        edge = torch.cat([crop.mask[0, 0], crop.mask[0, -1], crop.mask[0, :, 0], crop.mask[0, :, -1]])
        assert crop.touches_border == (not edge.all())


def test_gt_is_a_crop_of_the_photograph_in_rgb(params, tmp_path):
    whole = make_params().model_copy(update={"data": params.data.model_copy(update={"crop": [1.0, 1.0], "size": 60})})
    write_masks(whole)
    gt = (255 * evaluate.Crops(whole)[0].gt).round().byte().permute(1, 2, 0).numpy()
    photograph = read_image(tmp_path / "photographs/test/2.png")
    assert any(np.array_equal(gt, photograph[:, left : left + 60]) for left in range(11))


def test_a_crop_depends_on_seed_and_index_alone(params):
    first = evaluate.Crops(params)
    backwards = [evaluate.Crops(params)[i] for i in reversed(range(len(first)))][::-1]
    for a, b in zip(first, backwards, strict=True):
        assert torch.equal(a.gt, b.gt) and torch.equal(a.mask, b.mask)
    other = evaluate.Crops(params.model_copy(update={"seed": 1}))
    assert not any(torch.equal(a.gt, b.gt) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[0].gt, first[3].gt)  # the same photograph


def test_masks_of_another_size_are_refused(params):
    larger = params.model_copy(update={"data": params.data.model_copy(update={"size": 48})})
    with pytest.raises(evaluate.EvaluationError, match="masks are 32 px, crops 48 px: run `dvc repro masks` first"):
        evaluate.Crops(larger)[0]


def test_one_crop_per_bin_for_pictures(params):
    assert [crop.bin for crop in evaluate.Crops(params).one_per_bin()] == NAMES


# Measuring


def test_a_perfect_model_has_no_error(params):
    table = evaluate.evaluate(Perfect(evaluate.Crops(params)), params)
    ours = table[table["method"] == "pconv"]
    assert (ours["l1"] == 0).all() and (ours["psnr"] == 100).all() and (ours["perceptual"] == 0).all()
    assert ours["ssim"].to_numpy() == pytest.approx(1, abs=1e-6)
    assert (table[table["method"] != "pconv"]["l1"] > 0).all()


def test_the_composite_is_measured_clamped(params):
    table = evaluate.evaluate(Constant(7.0), params).query("method == 'pconv'").set_index("index")
    for crop in evaluate.Crops(params):
        hole = (crop.mask[0] == 0).numpy()
        error = (1 - crop.gt.double().numpy()) * hole  # 1, not 7, in the hole; nothing elsewhere
        row = table.loc[crop.index]
        assert row.l1 == pytest.approx(100 * error.mean(), rel=1e-5)
        assert row.psnr == pytest.approx(-10 * math.log10((error**2).mean()), rel=1e-5)


def test_the_composite_is_measured_for_baselines_too(params, monkeypatch):
    monkeypatch.setattr(evaluate.baselines, "fill", lambda name, image, mask: torch.full_like(image, 7.0))
    table = evaluate.evaluate(Constant(7.0), params).set_index("index")
    ours, theirs = (table[table["method"] == name][list(evaluate.MEASURES)] for name in ("pconv", "mean fill"))
    pd.testing.assert_frame_equal(ours, theirs)


def test_no_method_sees_the_hole(params, monkeypatch):
    def baseline(name, image, mask):
        assert (image * (1 - mask) == 0).all()
        return image

    monkeypatch.setattr(evaluate.baselines, "fill", baseline)
    spy = Spy()
    evaluate.evaluate(spy, params)
    assert sum(len(image) for image, _ in spy.seen) == len(evaluate.Crops(params))
    assert all((image * (1 - mask) == 0).all() for image, mask in spy.seen)


def test_the_table_has_every_method_on_every_crop(params):
    table = evaluate.evaluate(Constant(0.5), params)
    about = "method bin touches_border index photograph hole_ratio thickness contrast unreached"
    assert list(table.columns) == f"{about} psnr ssim l1 perceptual".split()
    assert list(table["method"].unique()) == ["pconv", "mean fill", "navier-stokes"]
    assert (table.groupby(["method", "bin", "touches_border"]).size() == PER_GROUP).all()
    assert len(table) == 3 * len(BINS) * 2 * PER_GROUP and not table.isna().any().any()
    for _, rows in table.groupby("method"):
        assert list(rows["index"]) == list(range(len(BINS) * 2 * PER_GROUP))


def test_it_is_the_same_twice_and_in_batches_of_any_size(params, monkeypatch):
    table = evaluate.evaluate(Constant(0.5), params)
    pd.testing.assert_frame_equal(evaluate.evaluate(Constant(0.5), params), table, check_exact=True)
    monkeypatch.setattr(evaluate, "BATCH", 5)
    pd.testing.assert_frame_equal(evaluate.evaluate(Constant(0.5), params), table, rtol=1e-6)


def test_crops_and_composites_are_described_as_they_are(params):
    """Each measure stands in its own column, and the width of the hole is that of the crop's mask."""
    table, crops = evaluate.evaluate(Constant(0.5), params).set_index(["method", "index"]), list(evaluate.Crops(params))
    comps = evaluate.composites(Constant(0.5), ["navier-stokes"], crops)
    gt = torch.stack([crop.gt for crop in crops])
    for method, comp in comps.items():
        rows = table.loc[method]
        expected = {"ssim": metrics.ssim(comp, gt), "perceptual": PerceptualDistance()(comp, gt)}
        for measure, values in expected.items():
            np.testing.assert_allclose(rows[measure], values, rtol=1e-5)
        mask = torch.stack([crop.mask for crop in crops])
        np.testing.assert_allclose(rows["contrast"], metrics.contrast(gt, mask), rtol=1e-5)
        assert rows["thickness"].tolist() == [thickness(mask_to_hole(crop.mask)) for crop in crops]


def test_a_baseline_named_twice_is_run_once(params):
    table = evaluate.evaluate(Constant(0.5), make_params(baselines=["mean fill", "mean fill"]))
    assert table["method"].value_counts().to_dict() == {"pconv": 24, "mean fill": 24}


def test_a_result_that_is_not_finite_names_method_and_crop(params):
    crop = evaluate.Crops(params)[13]
    holes = 3 * int((crop.mask == 0).sum())
    message = rf"pconv: {holes} of 3072 values are not finite in crop 13 \(photograph {crop.photograph}, hole ratio 0\."
    with pytest.raises(evaluate.EvaluationError, match=message):
        evaluate.evaluate(Constant(0.5, odd=float("nan"), where=crop.mask), params)


def test_a_baseline_that_is_not_finite_is_named(params, monkeypatch):
    monkeypatch.setattr(evaluate.baselines, "fill", lambda name, image, mask: image / 0)
    with pytest.raises(evaluate.EvaluationError, match="mean fill: 3072 of 3072 values are not finite in crop 0"):
        evaluate.evaluate(Constant(0.5), params)


def test_progress_is_shown(params, capfd):
    evaluate.evaluate(Constant(0.5), params)
    assert "evaluate, crop 0/24" in capfd.readouterr().err


# Published weights


def save(model, path):
    save_model(path, model.state_dict(), {"params": {"model": {"width": model.width, "depth": model.depth}}})


def test_a_published_network_is_measured_beside_the_model(params):
    """Its rows follow the model's and are those that it would have as the model itself; nothing else changes."""
    alone = evaluate.evaluate(Constant(0.5), params)
    table = evaluate.evaluate(Constant(0.5), params, Constant(0.4))
    assert list(table["method"].unique()) == ["pconv", "published", "mean fill", "navier-stokes"]
    others = table[table["method"] != "published"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, alone)
    other = evaluate.evaluate(Constant(0.4), params).query("method == 'pconv'").assign(method="published")
    published = table.query("method == 'published'").reset_index(drop=True)
    pd.testing.assert_frame_equal(published, other.reset_index(drop=True))
    samples = evaluate.Crops(params).one_per_bin()
    assert list(evaluate.composites(Constant(0.5), ["telea"], samples, Constant(0.4))) == [
        "pconv",
        "published",
        "telea",
    ]


def test_each_network_has_a_reach_of_its_own(params):
    hole = np.zeros((SIZE, SIZE), np.uint8)
    hole[:, :17] = 1
    write_hole(mask_folder("test") / "00002.png", hole)
    table = evaluate.evaluate(he_init(PConvUNet(2, 3), 0), params, Constant(0.5)).set_index(["method", "index"])
    assert table.loc[("pconv", 2), "unreached"] == table.loc[("navier-stokes", 2), "unreached"] > 0
    assert (table.loc["published", "unreached"] == 0).all()


def test_published_weights_come_from_the_projects_root(params, tmp_path, monkeypatch):
    assert evaluate.load_published(params, CPU) is None
    saved = he_init(PConvUNet(4, 3), 1)
    (tmp_path / "published").mkdir()
    save(saved, tmp_path / "published/net.safetensors")
    monkeypatch.chdir("photographs")
    found = evaluate.load_published(make_params(published="published/net.safetensors"), CPU)
    assert not found.training
    assert all(tensor.equal(saved.state_dict()[name]) for name, tensor in found.state_dict().items())


def test_published_weights_that_are_missing_or_too_deep_are_named(params, tmp_path):
    with pytest.raises(WeightsError, match=r"published/nothing\.safetensors: "):
        evaluate.load_published(make_params(published="published/nothing.safetensors"), CPU)
    save(he_init(PConvUNet(2, 7), 0), tmp_path / "deep.safetensors")
    message = r"evaluate\.published = deep\.safetensors: a network of depth 7 takes crops of 64 px or more.*size = 32"
    with pytest.raises(evaluate.EvaluationError, match=message):
        evaluate.load_published(make_params(published="deep.safetensors"), CPU)


def test_what_the_network_does_not_reach_is_counted_and_measured(params):
    """A network of depth 3 fills 15 px from the edge; here all but the right half of one crop is hole."""
    hole = np.zeros((SIZE, SIZE), np.uint8)
    hole[:, :17] = 1
    write_hole(mask_folder("test") / "00002.png", hole)
    model = he_init(PConvUNet(2, 3), 0)
    table = evaluate.evaluate(model, params)
    for method, rows in table.groupby("method"):
        missed = rows.set_index("index")["unreached"]
        assert missed[2] > 0 and (missed.drop(2) == 0).all(), method
    crop = evaluate.Crops(params)[2]
    comp = evaluate.composites(model, [], [crop])["pconv"][0]
    grey = (comp == 0.5).all(0) & (crop.mask[0] == 0)
    assert grey.sum() == table.loc[2, "unreached"]
