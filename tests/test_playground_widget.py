"""The widget's side in Python: what the browser sends, and what it gets in answer."""

import cv2
import numpy as np
import pytest
from traitlets import TraitError
from wire import Wire

from pconv.masks.convention import border_share
from pconv.playground.filling import QUICK
from pconv.playground.photographs import SIZE, choices, read_packaged


def hole_of(playground):
    return np.frombuffer(playground.hole, np.uint8).reshape(SIZE, SIZE)


def disc(radius):
    return cv2.circle(np.zeros((SIZE, SIZE), np.uint8), (100, 90), radius, 1, cv2.FILLED)


def colours(playground, method):
    (one,) = [one for one in playground.fillings if one["method"] == method]
    return np.frombuffer(one["colours"], np.uint8).reshape(-1, 3)


def test_it_begins_with_a_photograph_never_trained_on_and_a_hole_that_is_filled(playground):
    assert playground.photograph == choices()[0]["name"] and choices()[0]["split"] == "test"
    assert np.array_equal(np.frombuffer(playground.truth, np.uint8), read_packaged(playground.photograph).ravel())
    assert 0.19 < hole_of(playground).mean() <= 0.20 and border_share(hole_of(playground), 25) == 0
    assert playground.filled == playground.hole and [one["method"] for one in playground.fillings] == list(QUICK)
    assert all(one["psnr"] > 0 and not one["problem"] for one in playground.fillings)


def test_a_hole_from_the_browser_is_filled_in_one_message(playground):
    (answer,) = Wire(playground).change("hole", disc(20).tobytes())
    changed = {*answer["state"], *(path[0] for path in answer["buffer_paths"])}
    assert changed == {"filled", "fillings", "revision"} and playground.filled == disc(20).tobytes()
    for method in QUICK:
        assert len(colours(playground, method)) == disc(20).sum()
    assert f"The hole covers {disc(20).mean():.1%} of the picture." in playground.summary()


def test_a_hole_is_filled_again_for_another_photograph(playground):
    before = colours(playground, "telea").copy()
    other = choices()[1]["name"]
    playground.photograph = other
    assert np.array_equal(np.frombuffer(playground.truth, np.uint8), read_packaged(other).ravel())
    assert colours(playground, "telea").shape == before.shape and (colours(playground, "telea") != before).any()


@pytest.mark.parametrize("hole", [b"", bytes(SIZE**2 - 1), bytes([2]) + bytes(SIZE**2 - 1), bytes(SIZE**2 + 1)])
def test_what_is_no_hole_is_refused(playground, hole):
    before = playground.hole
    with pytest.raises(TraitError, match="65536 bytes, each 0 or 1"):
        playground.hole = hole
    assert playground.hole == before


def test_no_hole_and_nothing_but_hole(playground):
    playground.hole = bytes(SIZE**2)
    assert playground.fillings == [] and playground.message == ""
    playground.hole = bytes([1]) * SIZE**2
    assert playground.fillings == [] and "covers the whole picture" in playground.message
    playground.hole = disc(9).tobytes()
    assert len(playground.fillings) == len(QUICK) and playground.message == ""


@pytest.mark.parametrize("ratio, border", [(1, 0), (35, 20), (60, 0)])
def test_sliders_draw_a_mask(playground, ratio, border):
    playground.ratio, playground.border = ratio, border
    hole = hole_of(playground)
    assert ratio - 1 < 100 * hole.mean() <= ratio and (border == 0 or border_share(hole, border) == 0)
    playground.number += 1
    assert not np.array_equal(hole_of(playground), hole)
    playground.number -= 1
    assert np.array_equal(hole_of(playground), hole)


def test_a_mask_that_does_not_exist_is_said_in_one_line_and_changes_nothing(playground):
    playground.border = SIZE // 4
    before, revision = playground.hole, playground.revision
    playground.ratio = 60
    assert "with 64 px kept clear" in playground.message and "\n" not in playground.message
    assert playground.hole == before and playground.revision > revision


def test_ones_own_photograph_comes_in_parts(playground):
    image = np.random.default_rng(0).integers(256, size=(SIZE, SIZE, 3), dtype=np.uint8)
    encoded = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    wire = Wire(playground)
    for start in range(0, len(encoded), 2**16):
        part, last = encoded[start : start + 2**16], start + 2**16 >= len(encoded)
        answers = wire.tell({"kind": "file", "name": "mine.png", "last": last}, part)
        assert len(answers) == last
    assert (playground.photograph, playground.own, playground.message) == ("", "mine.png", "")
    assert playground.truth == image.tobytes() and len(playground.fillings) == len(QUICK)
    playground.photograph = choices()[0]["name"]
    assert playground.truth != image.tobytes()
    playground.photograph = ""
    assert playground.truth == image.tobytes()
    brighter = cv2.imencode(".png", image[..., ::-1] | 1)[1].tobytes()
    wire.tell({"kind": "file", "name": "other.png", "last": True}, brighter)
    assert playground.own == "other.png" and playground.truth == (image | 1).tobytes()


def test_a_file_that_is_no_photograph_is_said_in_one_line_and_changes_nothing(playground):
    before = playground.get_state(["photograph", "own", "truth", "hole", "fillings"])
    (answer,) = Wire(playground).tell({"kind": "file", "name": "mine.gif", "last": True}, b"GIF89a")
    assert playground.message.startswith("mine.gif: not an image") and "\n" not in playground.message
    assert playground.get_state(list(before)) == before
    assert answer["state"] == {"message": playground.message, "revision": playground.revision}


def test_a_slow_method_is_added_once_when_it_is_asked_for(playground):
    wire = Wire(playground)
    for _ in range(2):
        wire.tell({"kind": "slow"})
        assert [one["method"] for one in playground.fillings] == [*QUICK, "biharmonic"]
    playground.hole = disc(5).tobytes()
    assert [one["method"] for one in playground.fillings] == list(QUICK)
