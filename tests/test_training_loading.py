"""Samples depend on their seed and number alone, whoever loads them and whenever."""

import random
from collections import Counter

import cv2
import numpy as np
import pytest
import torch

from pconv.data.manifest import read_photograph
from pconv.masks.files import read_hole
from pconv.project import mask_folder
from pconv.training import loading
from pconv.training.loading import TrainingCrops, ValidationCrops
from pconv.training.trainer import Trainer

COUNT = 30


def samples(dataset):
    return [dataset[n] for n in range(len(dataset))]


def equal(a, b):
    return len(a) == len(b) and all(
        image.equal(other_image) and mask.equal(other_mask)
        for (image, mask), (other_image, other_mask) in zip(a, b, strict=True)
    )


def loaded(trainer):
    """Return what the network sees, sample by sample, as the data set gives it."""
    batches = [((255 * image).round().byte(), mask.byte()) for image, mask in trainer.batches()]
    return [sample for batch in batches for sample in zip(*batch, strict=True)]


@pytest.fixture
def spy(monkeypatch):
    """Names of the photographs and masks that are read, in order."""
    read = {"photographs": [], "masks": []}

    def noting(name, function):
        return lambda path, *rest: read[name].append(path) or function(path, *rest)

    monkeypatch.setattr(loading, "read_photograph", noting("photographs", read_photograph))
    monkeypatch.setattr(loading, "read_hole", noting("masks", read_hole))
    return read


# What a sample is


@pytest.mark.parametrize("kind", [lambda params: TrainingCrops(params, 1, COUNT), ValidationCrops])
def test_samples_are_images_and_masks_in_bytes(tiny, kind):
    dataset = kind(tiny.set(data__crop=[0.3, 1.0]))
    for image, mask in samples(dataset):
        assert (image.dtype, image.shape) == (torch.uint8, (3, 32, 32))
        assert (mask.dtype, mask.shape) == (torch.uint8, (1, 32, 32))
        assert image.float().std() > 5  # not a flat colour
        assert set(mask.unique().tolist()) == {0, 1}
        assert 0.01 < (mask == 0).float().mean() <= 0.6  # 0 is the hole


def test_an_image_is_its_photograph_and_a_mask_its_hole(tiny, monkeypatch):
    square = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    monkeypatch.setattr(loading, "read_photograph", lambda photograph, least_side: square)
    image, mask = ValidationCrops(tiny.set(data__crop=[1.0, 1.0]))[1]
    np.testing.assert_array_equal(image, square.transpose(2, 0, 1))
    np.testing.assert_array_equal(mask[0], 1 - read_hole(mask_folder("val") / "00001.png"))


def test_photographs_and_masks_come_from_their_own_split(tiny, spy):
    params = tiny.set()
    for split, dataset in (("train", TrainingCrops(params, 1, COUNT)), ("val", ValidationCrops(params))):
        spy["photographs"].clear(), spy["masks"].clear()
        samples(dataset)
        assert {photograph.path.parent.name for photograph in spy["photographs"]} == {split}
        assert {path.parent.name for path in spy["masks"]} == {split}


def test_every_photograph_comes_once_in_each_pass_in_changing_order(tiny, spy):
    samples(TrainingCrops(tiny.set(), 1, COUNT))
    passes = [tuple(photograph.path.stem for photograph in spy["photographs"][n : n + 3]) for n in range(0, COUNT, 3)]
    assert all(sorted(one) == ["0", "1", "2"] for one in passes)
    assert len(set(passes)) > 1


def test_masks_are_drawn_from_all_of_them(tiny, spy):
    samples(TrainingCrops(tiny.set(), 1, 100))
    assert len(Counter(spy["masks"])) == 7


def test_images_are_flipped_and_masks_turned_and_flipped(tiny, monkeypatch):
    """Always the same photograph, whole, and the same hole: 2 images and 8 masks are left."""
    params = tiny.set(data__crop=[1.0, 1.0])
    square = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    hole = np.zeros((32, 32), np.uint8)
    hole[3, 5] = 1
    monkeypatch.setattr(loading, "read_photograph", lambda photograph, least_side: square)
    monkeypatch.setattr(loading, "read_hole", lambda path: hole)
    found = samples(TrainingCrops(params, 1, 200))
    images = Counter(image.numpy().tobytes() for image, _ in found)
    planes = square.transpose(2, 0, 1)
    assert set(images) == {planes.tobytes(), planes[:, :, ::-1].tobytes()}
    assert min(images.values()) > 60
    places = Counter(tuple(np.argwhere(mask[0].numpy() == 0)[0].tolist()) for _, mask in found)
    near, far = {3: 28, 5: 26}, (3, 5)
    assert set(places) == {(i, j) for a, b in (far, far[::-1]) for i in (a, near[a]) for j in (b, near[b])}


@pytest.mark.parametrize("crop, side", [([0.25, 0.5], 128), ([1.0, 1.0], 32)])
def test_photographs_are_read_no_larger_than_the_smallest_crop_needs(tiny, monkeypatch, crop, side):
    asked = []
    monkeypatch.setattr(loading, "read_photograph", lambda one, least: asked.append(least) or read_photograph(one))
    params = tiny.set(data__crop=crop)
    TrainingCrops(params, 1, 1)[0], ValidationCrops(params)[0]
    assert asked == [side, side]


def test_validation_takes_photographs_and_masks_in_turn(tiny, spy):
    samples(ValidationCrops(tiny.set(train__validation=7)))
    assert [photograph.path.stem for photograph in spy["photographs"]] == list("0101010")
    assert [path.stem for path in spy["masks"]] == [f"0000{n}" for n in (0, 1, 2, 0, 1, 2, 0)]


# What a sample depends on


def test_samples_are_the_same_in_any_order_and_number(tiny):
    params = tiny.set()
    few, many = TrainingCrops(params, 1, COUNT), TrainingCrops(params, 1, 10 * COUNT)
    backwards = [many[n] for n in reversed(range(COUNT))][::-1]
    assert equal(samples(few), backwards)
    assert equal(samples(ValidationCrops(params)), samples(ValidationCrops(tiny.set(train__validation=9)))[:3])


def test_samples_are_others_for_another_seed_stage_or_number(tiny):
    one, seed, stage = samples(TrainingCrops(tiny.set(), 1, COUNT)), [], []
    seed = samples(TrainingCrops(tiny.set(seed=1), 1, COUNT))
    stage = samples(TrainingCrops(tiny.set(), 2, COUNT))
    images = [image.numpy().tobytes() for image, _ in (*one, *seed, *stage)]
    assert len(set(images)) == 3 * COUNT
    assert not equal(samples(ValidationCrops(tiny.set())), samples(ValidationCrops(tiny.set(seed=1))))


def test_no_global_random_state_is_read_or_changed(tiny):
    def states():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    params = tiny.set()
    found = []
    for seed in (0, 1):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed), cv2.setRNGSeed(seed)
        trainer = Trainer(params, 1)
        before = states()
        found.append([*loaded(trainer), *samples(ValidationCrops(params))])
        assert states() == before
    assert equal(*found)


def test_the_network_sees_the_same_with_any_number_of_workers(tiny):
    alone = loaded(Trainer(tiny.set(), 1))
    assert len(alone) == 10 * 2
    assert equal(alone, samples(TrainingCrops(tiny.set(), 1, 20)))
    assert equal(loaded(Trainer(tiny.set(train__workers=2), 1)), alone)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_network_sees_the_same_after_a_restart(tiny, workers):
    whole = loaded(Trainer(tiny.set(), 1))
    trainer = Trainer(tiny.set(train__workers=workers), 1)
    trainer.state.step = 7
    assert equal(loaded(trainer), whole[14:])


def test_recoloured_samples_are_the_same_crops_in_other_colours(tiny):
    plain, coloured = (samples(TrainingCrops(tiny.set(train__recolour=value), 1, 12)) for value in (False, True))
    assert all(p[1].equal(c[1]) for p, c in zip(plain, coloured, strict=True))
    assert not any(p[0].equal(c[0]) for p, c in zip(plain, coloured, strict=True))
    for (image, _), (other, _) in zip(plain, coloured, strict=True):  # edges stay where they are
        edges, others = (x.float().mean(0).diff(dim=0).abs().flatten() for x in (image, other))
        assert torch.corrcoef(torch.stack([edges, others]))[0, 1] > 0.5
    again = samples(TrainingCrops(tiny.set(train__recolour=True), 1, 12))
    assert equal(again, coloured)
    assert equal(*(samples(ValidationCrops(tiny.set(train__recolour=value))) for value in (False, True)))


# Errors


def test_masks_of_another_size_are_named(tiny):
    params = tiny.set(data__size=48)
    for dataset in (TrainingCrops(params, 1, 1), ValidationCrops(params)):
        with pytest.raises(ValueError, match="masks are 32 px, crops 48 px: run `dvc repro masks` first"):
            dataset[0]
