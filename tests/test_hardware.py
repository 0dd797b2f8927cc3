"""Device and precision, on this machine and on others that are made believe."""

import pytest
import torch

from pconv.hardware import Hardware


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be a machine with or without a GPU and fast bfloat16."""

    def pretend(gpu=False, avx512=False, amx=False, gpu_bfloat16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: gpu_bfloat16)
        capabilities = {"avx2": True, "avx512_bf16": avx512, "amx_tile": amx}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    return pretend


@pytest.mark.parametrize(
    "has, device, precision",
    [
        ({}, "cpu", "float32"),
        ({"avx512": True}, "cpu", "bfloat16"),
        ({"amx": True}, "cpu", "bfloat16"),
        ({"gpu": True, "gpu_bfloat16": True}, "cuda", "bfloat16"),
        ({"gpu": True, "avx512": True, "amx": True}, "cuda", "float32"),  # what the GPU can do counts
    ],
)
def test_auto_takes_bfloat16_where_it_is_fast(machine, has, device, precision):
    machine(**has)
    assert Hardware.choose("auto") == Hardware(torch.device(device), precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_is_asked_for_is_used(machine, precision):
    for has in ({}, {"amx": True}, {"gpu": True}, {"gpu": True, "gpu_bfloat16": True}):
        machine(**has)
        assert Hardware.choose(precision).precision == precision


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_autocast_computes_in_the_precision(precision):
    x = torch.ones(2, 2)
    with Hardware(torch.device("cpu"), precision).autocast():
        assert (x @ x).dtype == getattr(torch, precision)


def test_a_batch_becomes_float_and_channels_last():
    image, mask = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 3, 16, 16), torch.ones(1, 1, 16, 16).byte()
    mask[0, 0, 3] = 0
    loaded, loaded_mask = Hardware(torch.device("cpu"), "float32").load((image, mask))
    assert loaded.dtype == loaded_mask.dtype == torch.float32
    assert loaded.equal(image / 255) and (loaded.min(), loaded.max()) == (0, 1)
    assert loaded.is_contiguous(memory_format=torch.channels_last)
    assert loaded_mask.equal(mask.float())


def test_this_machine_is_asked_without_an_error():
    assert Hardware.choose("auto").precision in ("float32", "bfloat16")


def test_a_pytorch_that_does_not_tell_what_the_processor_can_do_uses_float32(machine, monkeypatch):
    machine(avx512=True, amx=True)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert Hardware.choose("auto").precision == "float32"
