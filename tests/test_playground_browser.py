"""The widget in a browser: what mouse, finger and keys draw, and which pixels it shows, one by one."""

import cv2
import numpy as np
import pytest
from browser import drag, idle, new_page, on_screen, open_widget, pixels

from pconv.figures import HOLE
from pconv.playground import filling
from pconv.playground.network import NoWeightsError
from pconv.playground.photographs import SIZE, choices
from pconv.playground.widget import Playground

COLOUR = np.rint(255 * np.array(HOLE))
BRUSH = 18  # px, as long as nobody changes it


@pytest.fixture
def page(browser, playground):
    """Return a page that shows the playground, without a hole."""
    playground.hole = bytes(SIZE**2)
    page = new_page(browser, has_touch=True)
    open_widget(page, playground)
    yield page
    page.context.close()
    assert page.problems == []


def hole_of(playground):
    return np.frombuffer(playground.hole, np.uint8).reshape(SIZE, SIZE)


def truth_of(playground):
    return np.frombuffer(playground.truth, np.uint8).reshape(SIZE, SIZE, 3)


def filled(playground, method):
    """Return the photograph with the hole as a method fills it."""
    (one,) = [one for one in playground.fillings if one["method"] == method]
    picture = truth_of(playground).copy()
    picture[hole_of(playground) == 1] = np.frombuffer(one["colours"], np.uint8).reshape(-1, 3)
    return picture


def masked(playground):
    return np.where(hole_of(playground)[..., None] == 1, COLOUR, truth_of(playground)).astype(np.uint8)


def stroke(points, brush):
    """Return the pixels whose centres are within half a brush of the line through some points."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    near = np.full((SIZE, SIZE), np.inf)
    for (ax, ay), (bx, by) in zip(points, points[1:] or points, strict=False):
        length = np.hypot(bx - ax, by - ay)
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / max(length, 1e-9) ** 2, 0, 1)
        near = np.minimum(near, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
    return near - brush / 2


def assert_drawn(hole, points, brush):
    """Check a hole against a line, but for pixels so near its edge that the screen's coordinates decide."""
    outside = stroke(points, brush)
    sure = np.abs(outside) > 0.3
    assert np.array_equal(hole[sure], (outside < 0)[sure]) and hole.any()


def set_slider(page, name, value):
    """Drag a slider to a value."""
    page.get_by_role("slider", name=name).fill(str(value))
    idle(page)


def test_a_stroke_of_the_mouse_is_filled_when_the_button_is_released(page, playground):
    line = [(40, 60), (150, 60), (200, 180)]
    assert np.array_equal(pixels(page), truth_of(playground)) and playground.fillings == []
    x, y = on_screen(page, line[0])
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(*on_screen(page, line[1]))
    shown = pixels(page)  # not yet sent: in the hole's colour
    assert playground.fillings == [] and not hole_of(playground).any()
    assert np.array_equal(shown[60, 40:150], np.broadcast_to(COLOUR, (110, 3)))
    page.mouse.move(*on_screen(page, line[2]))
    page.mouse.up()
    idle(page)
    assert_drawn(hole_of(playground), line, BRUSH)
    assert np.array_equal(pixels(page), filled(playground, "pconv"))
    share = f"The hole covers {100 * hole_of(playground).mean():.1f} % of the picture."
    assert page.get_by_role("status").text_content() == share


def test_the_slider_leads_from_masked_over_filled_to_truth(page, playground):
    drag(page, [(30, 128), (226, 128)])
    idle(page)
    layers = masked(playground), filled(playground, "pconv"), truth_of(playground)
    name = "From masked over filled to truth"
    for value in (0, 0.25, 1, 1.5, 2):
        set_slider(page, name, value)
        before, after = layers[min(int(value), 1)], layers[min(int(value), 1) + 1]
        edge = round((value - min(int(value), 1)) * SIZE)
        expected = np.concatenate([after[:, :edge], before[:, edge:]], axis=1)
        assert np.array_equal(pixels(page), expected), value
    for text, expected in zip(("masked", "filled", "truth"), layers, strict=True):
        page.get_by_role("button", name=text, exact=True).click()
        assert np.array_equal(pixels(page), expected), text
        assert page.get_by_role("slider", name=name).get_attribute("aria-valuetext") == text
    drag(page, [(60, 60), (90, 90)])  # whoever draws wants to see the hole, then what fills it
    idle(page)
    assert np.array_equal(pixels(page), filled(playground, "pconv"))


@pytest.mark.parametrize("brush", [2, 40, 64])
def test_sizes_of_the_brush(page, playground, brush):
    set_slider(page, "Brush", brush)
    drag(page, [(100.5, 120.5)])
    idle(page)
    assert_drawn(hole_of(playground), [(100.5, 120.5)], brush)


def test_a_stroke_may_begin_and_end_anywhere(page, playground):
    line = [(250, 10), (300, 5), (260, 128)]  # leaves the picture at its right edge
    drag(page, line)
    idle(page)
    assert_drawn(hole_of(playground), line, BRUSH)
    page.mouse.move(*on_screen(page, (50, 50)))  # no button, no paint
    page.mouse.click(*on_screen(page, (50, 50)), button="right")
    assert not hole_of(playground)[30:70, 30:70].any()


def test_undo_and_clear(page, playground):
    undo, holes = page.get_by_role("button", name="Undo"), [hole_of(playground)]
    assert undo.is_disabled()
    for line in ([(50, 50), (90, 50)], [(50, 90), (90, 90)], [(70, 90), (80, 90)]):  # the third changes nothing
        drag(page, line)
        idle(page)
        holes.append(hole_of(playground))
    assert np.array_equal(holes[2], holes[3])
    page.get_by_role("button", name="Clear").click()
    idle(page)
    assert not hole_of(playground).any() and np.array_equal(pixels(page), truth_of(playground))
    for expected in (holes[2], holes[1], holes[0]):
        if expected is holes[1]:
            page.locator("canvas.picture").press("Control+z")
        else:
            undo.click()
        idle(page)
        assert np.array_equal(hole_of(playground), expected)
    assert undo.is_disabled() and np.array_equal(pixels(page), truth_of(playground))


def test_keys_draw(page, playground):
    """From the middle, with the space bar held: four steps to the right, then nine single pixels down."""
    page.locator("canvas.picture").focus()
    page.keyboard.press("]")
    page.keyboard.press("ArrowUp")
    page.keyboard.down(" ")
    for key in ["ArrowRight"] * 4 + ["Shift+ArrowDown"] * 9:
        page.keyboard.press(key)
    assert not hole_of(playground).any()
    page.keyboard.up(" ")
    idle(page)
    middle, step, brush = SIZE / 2, (BRUSH + 2) / 2, BRUSH + 2
    y = middle - step
    assert_drawn(hole_of(playground), [(middle, y), (middle + 4 * step, y), (middle + 4 * step, y + 9)], brush)
    page.keyboard.press("ArrowLeft")  # the brush is up
    idle(page)
    assert np.array_equal(pixels(page), filled(playground, "pconv"))


def test_a_finger_draws_and_a_second_one_does_not(page, playground):
    line = [(60, 200), (128, 150), (200, 200)]
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [dict(zip("xy", on_screen(page, point), strict=True), id=n) for n, point in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", line[0])
    touch("touchMove", line[1])
    touch("touchStart", line[1], (30, 30))
    touch("touchMove", line[2], (30, 90))
    touch("touchEnd")
    page.get_by_text("this network").wait_for()
    idle(page)
    assert_drawn(hole_of(playground), line, BRUSH)
    assert page.evaluate("scrollY") == 0


def test_each_method_can_be_shown(page, playground):
    drag(page, [(30, 128), (226, 100)])
    idle(page)
    page.get_by_role("button", name="biharmonic").click()
    page.get_by_role("button", name="biharmonic", pressed=False).wait_for()
    for method, title in filling.TITLES.items():
        card = page.get_by_role("button", name=title)
        card.click()
        assert card.get_attribute("aria-pressed") == "true"
        assert np.array_equal(pixels(page), filled(playground, method)), method
        (one,) = [one for one in playground.fillings if one["method"] == method]
        assert f"{one['psnr']:.1f} dB in the hole, {round(1000 * one['seconds'])} ms" in card.text_content()
        assert np.array_equal(pixels(page, f"[data-method={method}] canvas"), filled(playground, method))
    drag(page, [(30, 30), (60, 30)])  # another hole has no slow filling yet, so ours is shown
    idle(page)
    assert np.array_equal(pixels(page), filled(playground, "pconv"))


def test_sliders_draw_masks_which_can_be_undone(page, playground):
    drag(page, [(30, 128), (226, 100)])
    idle(page)
    by_hand = hole_of(playground)
    set_slider(page, "Hole", 35)
    set_slider(page, "clear of the border by", 10)
    drawn = hole_of(playground)
    assert 0.34 < drawn.mean() <= 0.35 and not drawn[:, :10].any() and not drawn[-10:].any()
    page.get_by_role("button", name="Another mask").click()
    idle(page)
    assert not np.array_equal(hole_of(playground), drawn)
    assert np.array_equal(pixels(page), filled(playground, "pconv"))
    for _ in range(3):
        page.get_by_role("button", name="Undo").click()
        idle(page)
    assert np.array_equal(hole_of(playground), by_hand)


def test_what_cannot_be_done_is_said_in_one_line(page, playground):
    status = page.get_by_role("status")
    set_slider(page, "clear of the border by", 64)
    set_slider(page, "Hole", 60)
    assert status.text_content() == playground.message != "" and "\n" not in playground.message
    set_slider(page, "Brush", 64)
    drag(page, [(x, y) for y in range(0, SIZE + 1, 32) for x in (0, SIZE)])
    idle(page)
    assert hole_of(playground).all() and "covers the whole picture" in status.text_content()
    assert np.array_equal(pixels(page), masked(playground))
    page.get_by_role("button", name="Clear").click()
    idle(page)
    assert status.text_content() == "Draw a hole."


def test_ones_own_photograph(page, playground, tmp_path):
    """Of several parts, since noise hardly compresses; and then what is no photograph."""
    image = np.random.default_rng(0).integers(256, size=(6 * SIZE, 6 * SIZE, 3), dtype=np.uint8)
    image = image // 2 + np.array([100, 60, 0], np.uint8)
    cv2.imwrite(str(tmp_path / "mine.png"), image[..., ::-1])
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    assert (tmp_path / "mine.png").stat().st_size > 4 * 2**20
    drag(page, [(30, 128), (226, 100)])
    idle(page)
    upload = page.get_by_label("or your own")
    upload.set_input_files(tmp_path / "mine.png")
    chosen = page.get_by_role("combobox", name="Photograph")
    page.wait_for_function("select => select.value === ''", arg=chosen.element_handle())
    idle(page)
    assert chosen.locator("option:checked").text_content() == "mine.png"
    means = image.reshape(SIZE, 6, SIZE, 6, 3).mean(axis=(1, 3))
    assert np.abs(truth_of(playground) - means).max() <= 0.5
    assert np.array_equal(pixels(page), filled(playground, "pconv"))
    upload.set_input_files(tmp_path / "broken.jpg")
    page.locator(".status.problem").wait_for()
    assert page.get_by_role("status").text_content().startswith("broken.jpg: not an image")
    assert chosen.locator("option:checked").text_content() == "mine.png"
    chosen.select_option(choices()[2]["name"])
    idle(page)
    assert playground.photograph == choices()[2]["name"]
    assert np.array_equal(pixels(page), filled(playground, "pconv"))
    assert page.get_by_role("status").text_content().startswith("The hole covers")


def test_without_weights_it_says_what_to_run(browser, monkeypatch):
    def none():
        raise NoWeightsError("no weights: run `make repro`")

    monkeypatch.setattr(filling, "load_network", none)
    playground, page = Playground(), new_page(browser)
    open_widget(page, playground)
    assert "no weights: run `make repro`" in page.get_by_role("button", name="this network").text_content()
    assert np.array_equal(pixels(page), masked(playground))
    page.get_by_role("button", name="Telea").click()
    assert np.array_equal(pixels(page), filled(playground, "telea"))
    page.context.close()
    assert page.problems == []
