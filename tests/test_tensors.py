"""Files of tensors: what is read, and that everything else is refused in one line that names the file."""

import json
import os
import struct
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file

from pconv.errors import PConvError
from pconv.tensors import MOST_HEADER, WeightsError, fit, read_tensors, write_tensors

HINT = "do this"
TENSORS = {"conv.weight": torch.ones(2, 3, 1, 1), "conv.bias": torch.zeros(2), "count": torch.tensor(7)}


def header(**entries) -> bytes:
    """Return a file's beginning: the header of entries (dtype, shape, begin, end)."""
    fields = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        for name, (dtype, shape, begin, end) in entries.items()
    }
    return sized(json.dumps(fields))


def sized(text: str) -> bytes:
    """Return a header after its length, as a file begins."""
    return struct.pack("<Q", len(text)) + text.encode()


def refuse(path, *parts):
    """Check that reading gives one short line with the path, the parts and the hint."""
    with pytest.raises(WeightsError) as caught:
        read_tensors(path, HINT)
    said = str(caught.value)
    assert said.startswith(str(path)) and said.endswith(f"; {HINT}") and len(said.splitlines()) == 1
    assert len(said) < len(str(path)) + 250
    for part in parts:
        assert part in said


# Reading


def test_a_file_gives_its_tensors_and_metadata(tmp_path):
    save_file(TENSORS, tmp_path / "a", metadata={"key": "value"})
    tensors, metadata = read_tensors(tmp_path / "a", HINT)
    assert metadata == {"key": "value"} and tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in tensors.items())
    save_file(TENSORS, tmp_path / "b")
    assert read_tensors(str(tmp_path / "b"), HINT)[1] == {}


WHOLE = header(a=("F32", [4], 0, 16)) + bytes(16)
DAMAGED = {
    "empty": (b"", "it is empty"),
    "one byte": (WHOLE[:1], "holds something else"),
    "the length alone": (WHOLE[:8], "holds something else"),
    "cut in the header": (WHOLE[:20], "cut short: the header alone has"),
    "cut in the tensors": (WHOLE[:-1], "not fully covered"),
    "too long": (WHOLE + b"x", "not fully covered"),
    "text": (b"not weights\n" * 99, "holds something else"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "holds something else"),
    "a header of exabytes": (
        struct.pack("<Q", 2**63) + b"{}",
        "cut short: the header alone has 9,223,372,036,854,775,808",
    ),
    "a header that is no JSON": (sized("{1234567"), "invalid JSON"),
    "a header of brackets": (sized('{"a":' * 60_000), "recursion limit"),
    "metadata of numbers": (sized('{"__metadata__":{"pconv":3}}'), "integer `3`, expected a string"),
    "one tensor upon another": (
        header(a=("F32", [4], 0, 16), b=("F32", [4], 8, 24)) + bytes(24),
        "invalid offset for tensor `b`",
    ),
    "a shape that is not the size": (header(a=("F32", [5], 0, 16)) + bytes(16), "not a whole safetensors file"),
    "a shape below 0": (header(a=("F32", [-4], 0, 16)) + bytes(16), "invalid value: integer `-4`"),
    "a shape beyond numbers": (header(a=("F32", [2**62, 16], 0, 16)) + bytes(16), "overflow"),
    "an unknown type": (header(a=("X9", [4], 0, 16)) + bytes(16), "unknown variant `X9`"),
    "a type PyTorch has not": (header(a=("F6_E2M3", [4], 0, 3)) + bytes(3), "F6_E2M3"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_refused(case, tmp_path):
    content, said = DAMAGED[case]
    (tmp_path / "weights").write_bytes(content)
    refuse(tmp_path / "weights", said)


def test_a_long_header_is_not_read(tmp_path):
    with open(tmp_path / "weights", "wb") as file:
        file.write(struct.pack("<Q", 2**32) + b"{")
        file.truncate(2**33)  # takes no room on disk
    refuse(tmp_path / "weights", f"4,294,967,296 bytes, more than the {MOST_HEADER:,} that are read")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_with_a_way_to_convert_it(zipped, tmp_path):
    torch.save(TENSORS, tmp_path / "weights.pt", _use_new_zipfile_serialization=zipped)
    refuse(tmp_path / "weights.pt", "a pickle or a file of torch.save", "safetensors.torch.save_file")


def test_a_terabyte_takes_no_memory(tmp_path):
    """Either its tensors are views of the file, or this machine cannot map it."""
    head = header(a=("F32", [2**38], 0, 2**40))
    with open(tmp_path / "weights", "wb") as file:
        file.write(head)
        file.truncate(len(head) + 2**40)
    try:
        tensors, _ = read_tensors(tmp_path / "weights", HINT)
    except WeightsError:
        refuse(tmp_path / "weights", "too large to be mapped")
    else:
        with pytest.raises(WeightsError, match=r"of another shape: a \(274877906944,\) instead of \(1,\)"):
            fit(tensors, {"a": torch.zeros(1)}, tmp_path / "weights", HINT)


def test_what_is_no_file_is_refused(tmp_path):
    refuse(tmp_path / "gone", "No such file")
    refuse(tmp_path, "a folder, not a file")
    os.mkfifo(tmp_path / "pipe")
    refuse(tmp_path / "pipe", "Not a regular file")
    (tmp_path / "loop").symlink_to("loop")
    refuse(tmp_path / "loop", "Too many levels")
    with pytest.raises(WeightsError, match=r"^'a\\x00b': .*null byte"):
        read_tensors("a\0b", HINT)
    with pytest.raises(WeightsError, match=r"^a{299}…: File name too long"):
        read_tensors("a" * 5000, HINT)


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    (tmp_path / "weights").write_bytes(WHOLE)
    (tmp_path / "weights").chmod(0)
    if os.geteuid() == 0:  # whom no permission stops

        def denied(*args):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pconv.tensors.open_file", denied)
    refuse(tmp_path / "weights", "Permission denied")


# Fitting


def fitted(**changes):
    """TENSORS with some changed or, where None is given, left out, as fit makes them; _ stands for a full stop."""
    found = TENSORS | {name.replace("_", "."): tensor for name, tensor in changes.items()}
    return fit({name: tensor for name, tensor in found.items() if tensor is not None}, TENSORS, "w.st", HINT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision_becomes_the_networks(dtype):
    weight = torch.full((2, 3, 1, 1), 1.5, dtype=dtype)
    tensors = fitted(conv_weight=weight)
    assert tensors["conv.weight"].dtype == torch.float32 and (tensors["conv.weight"] == 1.5).all()
    assert tensors["conv.weight"].data_ptr() != weight.data_ptr()
    assert tensors["count"].dtype == torch.int64


MISFITS = {
    "missing": (dict(conv_bias=None), "missing: conv.bias"),
    "unknown": (dict(other=torch.zeros(1)), "unknown: other"),
    "an unknown name of many control characters": (
        {"\x1b" * 500: torch.zeros(1)},
        "unknown: '" + r"\x1b" * 19 + r"\x" + "…",
    ),
    "shape": (dict(conv_bias=torch.zeros(3)), "of another shape: conv.bias (3,) instead of (2,)"),
    "sixty sides": (dict(conv_bias=torch.zeros([0] * 60)), "of another shape: conv.bias (0, 0, 0,"),
    "integers": (dict(conv_bias=torch.zeros(2, dtype=torch.int64)), "of another type: conv.bias torch.int64"),
    "truth values": (dict(conv_bias=torch.zeros(2).bool()), "of another type: conv.bias torch.bool"),
    "complex": (dict(conv_bias=torch.zeros(2).to(torch.complex64)), "of another type: conv.bias torch.complex64"),
    "eight bits": (dict(conv_bias=torch.zeros(2).to(torch.float8_e4m3fn)), "of another type: conv.bias torch.float8"),
    "a count in floating point": (dict(count=torch.tensor(7.0)), "of another type: count torch.float32"),
    "sparse": (dict(conv_bias=torch.zeros(2).to_sparse()), "of another type: conv.bias"),
    "no memory": (dict(conv_bias=torch.zeros(2, device="meta")), "of another type: conv.bias"),
    "NaN": (dict(conv_bias=torch.tensor([0, torch.nan])), "not finite: conv.bias"),
    "infinity": (dict(conv_weight=torch.full((2, 3, 1, 1), -torch.inf)), "not finite: conv.weight"),
    "beyond float32": (dict(conv_bias=torch.tensor([0, 1e200], dtype=torch.float64)), "not finite: conv.bias"),
    "zeros": (dict(conv_weight=torch.zeros(2, 3, 1, 1)), "all zero: conv.weight"),
    "several": (
        dict(conv_bias=None, conv_weight=torch.zeros(1), other=torch.zeros(1)),
        "missing: conv.bias; unknown: other; of another shape: conv.weight (1,) instead of (2, 3, 1, 1)",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_named(case):
    changes, said = MISFITS[case]
    with pytest.raises(WeightsError) as caught:
        fitted(**changes)
    assert str(caught.value).startswith(f"w.st: {said}") and str(caught.value).endswith(f"; {HINT}")
    assert isinstance(caught.value, PConvError) and len(str(caught.value)) < 450


def test_of_many_the_first_are_named():
    expected = {f"tensor {number}": torch.zeros(1) for number in range(200)}
    with pytest.raises(WeightsError, match="^w.st: missing: tensor 0, tensor 1, tensor 2 and 197 more; do this$"):
        fit({}, expected, "w.st", HINT)


def test_shapes_are_compared_on_the_meta_device():
    expected = {"a": torch.zeros(2**40, device="meta")}
    with pytest.raises(WeightsError, match=r"a \(1,\) instead of \(1099511627776,\)"):
        fit({"a": torch.zeros(1)}, expected, "w.st", HINT)


# Writing


def test_the_bytes_are_those_of_safetensors(tmp_path):
    tensors = TENSORS | {"turned": torch.arange(6.0).view(2, 3).t(), "learnt": torch.nn.Parameter(torch.ones(2))}
    write_tensors(tmp_path / "ours", tensors, {"pconv": "{}"})
    kept = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(kept, tmp_path / "theirs", metadata={"pconv": "{}"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """While it is replaced another thread reads it; on a full disk it stays as it was."""
    path = tmp_path / "weights"
    big, stop, seen = {"a": torch.ones(100_000)}, threading.Event(), []
    write_tensors(path, big, {})

    def read():
        while not stop.is_set():
            seen.append(len(read_tensors(path, HINT)[0]["a"]))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(30):
        write_tensors(path, big, {})
    stop.set()
    reader.join()
    assert seen and set(seen) == {100_000}

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(
        WeightsError, match=r"weights: could not be written \(No space left on device\); free some disk"
    ):
        write_tensors(path, TENSORS, {})
    assert load_file(path).keys() == big.keys() and [p.name for p in tmp_path.iterdir()] == ["weights"]


def test_nothing_is_written_where_there_is_no_folder(tmp_path):
    with pytest.raises(WeightsError, match=r"gone/weights: could not be written \(No such file or directory\)"):
        write_tensors(tmp_path / "gone" / "weights", TENSORS, {})
