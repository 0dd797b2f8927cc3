"""One training step: what makes it fast changes nothing beyond rounding, and its row says what it minimised."""

import time
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from pconv.hardware import Hardware, keep_memory
from pconv.layers import PartialConv2d
from pconv.losses import TERMS, InpaintingLoss
from pconv.masks.drawing import draw_hole, hole_rng
from pconv.masks.tensors import hole_to_mask
from pconv.params import Terms
from pconv.training import TrainingError
from pconv.training.distributed import ALONE
from pconv.training.step import TrainingStep, UnreadLosses, adam, check_finite, learning_rate
from pconv.training.timing import Timer
from pconv.unet import PConvUNet, he_init
from pconv.vgg import VGGFeatures

CPU = Hardware(torch.device("cpu"), "float32")
WEIGHTS = Terms(perceptual=0.05, style=120.0)


def batch(dtype):
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(3, 3, 8, 8, generator=generator, dtype=torch.float64)
    gt = F.interpolate(coarse, size=(48, 48), mode="bicubic").clamp(0, 1)
    mask = torch.stack([hole_to_mask(draw_hole(hole_rng(0, "train", n), 48, 0.1, 0.4)) for n in range(3)])
    return gt.to(dtype), mask.to(dtype)


def plain_loss(model, gt, mask):
    """Compute the six terms as the paper writes them, image by image, with a pass of VGG each for gt, out and comp."""
    vgg, out = VGGFeatures("packaged").double(), model(gt, mask)
    terms = dict.fromkeys(TERMS, 0)
    for i in range(len(gt)):
        truth, made, m = gt[i : i + 1], out[i : i + 1], mask[i : i + 1]
        comp = m * truth + (1 - m) * made
        hole = F.max_pool2d(1 - m, 3, 1, 1)
        terms["valid"] += (m * (made - truth)).abs().mean()
        terms["hole"] += ((1 - m) * (made - truth)).abs().mean()
        for dim in (2, 3):
            first, second = (slice_along(hole, dim, at) for at in (0, 1))
            terms["tv"] += (comp.diff(dim=dim).abs() * first * second).mean()
        for image in (made, comp):
            for f, g in zip(vgg(image), vgg(truth), strict=True):
                terms["perceptual"] += (f - g).abs().mean()
                f, g = f[0].flatten(1), g[0].flatten(1)
                terms["style"] += ((f @ f.T - g @ g.T) / f.numel()).abs().mean()
    terms = {name: value / len(gt) for name, value in terms.items()}
    return sum(getattr(WEIGHTS, name) * value for name, value in terms.items()), terms


def slice_along(x, dim, start):
    return x.narrow(dim, start, x.shape[dim] - 1)


@pytest.fixture(scope="module")
def plain():
    """Loss, terms and gradients in float64, NCHW, with nothing done for speed."""
    gt, mask = batch(torch.float64)
    model = he_init(PConvUNet(8, 4), 0).double().train()
    total, terms = plain_loss(model, gt, mask)
    total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return SimpleNamespace(row=[total.item(), *(terms[name].item() for name in TERMS)], gradients=gradients)


def fast(precision):
    """Return the row of one step of pconv.step, and its gradients."""
    keep_memory()
    hardware = Hardware(torch.device("cpu"), precision)
    model = he_init(PConvUNet(8, 4), 0).to(memory_format=torch.channels_last).train()
    loss = InpaintingLoss(WEIGHTS, "packaged").to(memory_format=torch.channels_last)
    step = TrainingStep(model, adam(model, 1e-3), loss, hardware, Timer(hardware.device))
    gt, mask = batch(torch.float32)
    row = step(gt.contiguous(memory_format=torch.channels_last), mask, 1e-3)
    return row.tolist(), {name: p.grad.double() for name, p in model.named_parameters()}


@pytest.mark.parametrize("precision, loss_error, gradient_error", [("float32", 1e-5, 2e-3), ("bfloat16", 0.02, 0.2)])
def test_the_fast_step_is_the_plain_one_but_for_rounding(plain, precision, loss_error, gradient_error):
    row, gradients = fast(precision)
    assert row == pytest.approx(plain.row, rel=loss_error)
    flat, expected = (torch.cat([g[name].flatten() for name in plain.gradients]) for g in (gradients, plain.gradients))
    assert (flat - expected).norm() / expected.norm() < gradient_error
    assert torch.cosine_similarity(flat, expected, dim=0) > 1 - gradient_error**2


def test_float32_is_nearer_to_the_truth_than_bfloat16(plain):
    errors = [abs(fast(precision)[0][0] - plain.row[0]) for precision in ("float32", "bfloat16")]
    assert errors[0] < errors[1] / 10


def test_a_step_goes_down_by_the_learning_rate_that_it_is_given():
    hardware = Hardware(torch.device("cpu"), "float32")
    for rate in (1e-3, 1e-2):
        model = he_init(PConvUNet(4, 3), 0).train()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        loss = InpaintingLoss(Terms(perceptual=0.0, style=0.0), "random")
        TrainingStep(model, adam(model, 1.0), loss, hardware, Timer(hardware.device))(*batch(torch.float32), rate)
        moved = torch.cat([(p - before[name]).abs().flatten() for name, p in model.named_parameters()])
        assert moved.median().item() == pytest.approx(rate, rel=0.01)  # Adam's first step is lr g / |g|


@pytest.mark.parametrize(
    "lr_end, steps, expected",
    [
        (None, 10, [1.0] * 10),
        (0.1, 10, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (0.5, 2, [1, 0.5]),
        (0.5, 1, [1]),
    ],
)
def test_learning_rate(lr_end, steps, expected):
    for epochs in {1, steps}:
        schedule = SimpleNamespace(lr=1.0, lr_end=lr_end, epochs=epochs, steps=steps // epochs)
        assert [learning_rate(schedule, step) for step in range(steps)] == pytest.approx(expected)


def test_adam_leaves_out_what_is_frozen():
    model = PConvUNet(4, 3).freeze_encoder_norm()
    frozen = {id(p) for p in model.parameters() if not p.requires_grad}
    optimised = {id(p) for group in adam(model, 1e-3).param_groups for p in group["params"]}
    assert frozen and not frozen & optimised
    assert len(frozen) + len(optimised) == sum(1 for _ in model.parameters())


# The mask path


def test_the_way_of_the_mask_is_walked_once_and_remembers_no_weight():
    """windows() gives what each layer would find by itself, and needs no gradient."""
    model, (_, mask) = PConvUNet(4, 4), batch(torch.float32)
    windows = model.windows(mask)
    assert len(windows) == 8 and not any(t.requires_grad for window in windows for t in window)
    at = mask
    for down, window in zip(model.encoder, windows, strict=False):
        alone = PartialConv2d(1, 1, down.conv.kernel_size, 2, down.conv.padding)
        _, expected = alone(torch.ones_like(at), at)
        assert window.mask.equal(expected)
        at = expected


# Losses that are not finite


ROW = [float("nan"), 0.5, float("inf"), 0.25, 0.125, 0.0625]


@pytest.mark.parametrize(
    "spoilt, cause",
    [
        (None, "lower train.stage2.lr, or set train.precision: float32"),
        ("model", "the network's weights are no longer finite: lower train.stage2.lr, or set train.precision: float32"),
        ("vgg", "the weights of the loss network are not finite: take others than loss.vgg = random"),
        ("both", "the weights of the loss network are not finite: take others than loss.vgg = random"),
    ],
)
def test_a_loss_that_is_not_finite_names_its_terms_and_its_cause(spoilt, cause):
    model, loss = PConvUNet(4, 3), InpaintingLoss(Terms(), "random")
    with torch.no_grad():
        if spoilt in ("model", "both"):
            model.encoder[1].norm.running_var[0] = torch.inf
        if spoilt in ("vgg", "both"):
            loss.vgg.features[0].weight[0] = torch.nan
    with pytest.raises(TrainingError) as error:
        check_finite(ROW, "step 7", 2, model, loss)
    terms = "valid 0.5, hole inf, perceptual 0.25, style 0.125, tv 0.0625"
    assert str(error.value) == f"stage 2, step 7: the loss is nan ({terms}); {cause}"


def test_without_a_loss_network_it_is_not_the_cause():
    loss = InpaintingLoss(Terms(perceptual=0.0, style=0.0), "random")
    with pytest.raises(TrainingError, match="; lower train.stage1.lr"):
        check_finite(ROW, "step 7", 1, PConvUNet(4, 3), loss)


def test_a_finite_loss_passes():
    check_finite([1.0] * 6, "step 7", 1, PConvUNet(4, 3), InpaintingLoss(Terms(), "random"))


# Losses that are read now and then


class Others:
    """A group of two whose other process has the same losses, and was asked to stop or was not."""

    size = 2

    def __init__(self, asked):
        self.asked = asked

    def sum(self, values):
        *losses, seconds, asked = values
        return torch.stack([*(2 * row for row in losses), 2 * seconds, asked + self.asked])


@pytest.mark.parametrize("here", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_group_stops_when_any_of_it_was_asked_to(here, there):
    unread, stop = UnreadLosses(Others(there), CPU), SimpleNamespace(asked=here, agreed=False)
    for step in range(3):
        unread.append(torch.arange(6.0) + step)
    assert unread.read(stop) == [[step + n for n in range(6)] for step in range(3)]
    assert stop.agreed == (here or there)
    assert unread.read(stop) == []


def test_a_group_reads_about_every_second_and_at_least_every_tenth_step(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    unread, stop = UnreadLosses(Others(False), CPU), SimpleNamespace(asked=True, agreed=False)
    for pace, expected in ((5, 1), (0.3, 3), (0.001, 10), (0.4, 2)):
        for _ in range(2):  # the pace of one reading decides when the next one is
            steps = 0
            while not unread.is_time_to_read(stop):
                unread.append(torch.zeros(6))
                now[0] += pace
                steps += 1
            unread.read(stop)
        assert steps == expected


def test_a_process_alone_on_a_cpu_reads_at_once():
    unread, stop = UnreadLosses(ALONE, CPU), SimpleNamespace(asked=False, agreed=False)
    for _ in range(3):
        assert not unread.is_time_to_read(stop)
        unread.append(torch.zeros(6))
        assert unread.is_time_to_read(stop)
        unread.read(stop)
    stop.asked = True
    assert unread.is_time_to_read(stop)
