"""Figures: pictures keep their pixels, text its room, and files what the format promises."""

import itertools
import re
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab

from pconv import figures
from pconv.baselines import METHODS
from pconv.data.decoding import read_image
from pconv.evaluate import Crop
from pconv.figures.claims import intervals, picture_rows, verdict_examples
from pconv.figures.compare import experiment_rows, metric_against_parameter
from pconv.figures.evaluate import evaluation_cases, evaluation_curves, evaluation_pictures, protocol
from pconv.figures.layer import shrinking, window_in_numbers
from pconv.figures.masks import dilation, hole_frequency, hole_ratios
from pconv.figures.train import one_step, samples_over_time, training_curves, training_samples, write_film
from pconv.figures.unet import network, overfit_curves, term_bars, valid_shares
from pconv.masks.convention import BINS
from pconv.studies.bootstrap import FAILS, HOLDS, OPEN
from pconv.studies.compare import Row

ROOT = Path(__file__).parents[1]
TERMS = ("loss", "valid", "hole", "perceptual", "style", "tv", "l1", "psnr")


def photograph(size=128):
    """Return a photograph (3, H, W) in [0, 1]."""
    pixels = cv2.resize(data.astronaut(), (size, size), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def thin_holes(size=128):
    """Return a mask (1, H, W) of lines one and two pixels wide, where halved colour resolution shows most."""
    mask = torch.ones(1, size, size)
    mask[:, 10::16] = mask[:, :, 13::32] = mask[:, :, 14::32] = 0
    return mask


def photographs():
    masked = figures.masked(photograph(), thin_holes())
    return figures.picture_grid([[masked, photograph()]], ["masked", "truth"], ["0.1-0.2"])


def plot():
    terms = [f"{split}/{term}" for term in TERMS for split in ("train", "val")]
    return training_curves([{"step": step, **dict.fromkeys(terms, 1 / (step + 1))} for step in range(5)])


@pytest.mark.parametrize("absent", [(), ("style",), ("perceptual", "style")])
def test_terms_of_weight_0_have_no_panel(absent):
    values = {term: 0 if term in absent else 0.5 for term in TERMS}
    history = [{"step": 1, **{f"{split}/{term}": values[term] for term in TERMS for split in ("train", "val")}}]
    titles = [
        axis.get_title().removeprefix("composite: ").split(",")[0].lower() for axis in training_curves(history).axes
    ]
    assert titles == [term for term in TERMS if term not in absent]


def decode(file: bytes):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def error(figure):
    """Return the absolute error of a figure's JPEG, per value."""
    return np.abs(decode(figures.encode(figure, photographs=True)).astype(int) - figures.draw(figure))


def holds(picture, figure):
    """Whether a figure shows a picture (H, W, 3) uint8 somewhere, pixel by pixel."""
    pixels, (height, width) = figures.draw(figure), picture.shape[:2]
    corners = np.argwhere((pixels == picture[0, 0]).all(axis=2))
    return any(np.array_equal(pixels[y : y + height, x : x + width], picture) for y, x in corners)


# Files


@pytest.mark.parametrize("figure", [plot, photographs])
def test_png_is_exact(figure):
    assert np.array_equal(decode(figures.encode(figure())), figures.draw(figure()))


def test_photographs_stay_within_a_bound_of_the_exact_pixels():
    found = error(photographs())
    assert found.mean() < 3 and np.quantile(found, 0.999) < 30  # of 255


def test_thin_holes_keep_their_colour(monkeypatch):
    hole = np.rint(255 * np.array(figures.HOLE))
    figure = photographs()
    holes = (figures.draw(figure) == hole).all(axis=2)
    assert holes.sum() > 1000
    assert error(figure)[holes].mean() < 8
    halved = [*figures.JPEG, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    monkeypatch.setattr(figures, "JPEG", halved)
    assert error(figure)[holes].mean() > 16, "the usual JPEG would do as well"


def test_photographs_take_fewer_bytes():
    assert len(figures.encode(photographs(), photographs=True)) < 0.7 * len(figures.encode(photographs()))


@pytest.mark.parametrize("kind", [True, False])
@pytest.mark.parametrize("figure", [plot, photographs])
def test_equal_figures_give_equal_bytes(figure, kind):
    assert figures.encode(figure(), kind) == figures.encode(figure(), kind)


@pytest.mark.parametrize(("kind", "mime", "suffix"), [(True, "image/jpeg", ".jpg"), (False, "image/png", ".png")])
def test_the_notebook_shows_the_bytes_of_the_file(tmp_path, monkeypatch, kind, mime, suffix):
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    shown = []
    monkeypatch.setattr(figures, "display", shown.append)
    figures.show(photographs(), "two pictures", photographs=kind, name="a")
    figures.show(photographs(), "two pictures", photographs=kind)
    bundle, metadata = shown[0]._repr_mimebundle_()
    assert set(bundle) == {mime} and metadata[mime]["alt"] == "two pictures"
    assert shown[0].data == shown[1].data == (tmp_path / "reports" / "figures" / f"a{suffix}").read_bytes()
    assert len(list((tmp_path / "reports" / "figures").iterdir())) == 1


def test_a_caption_stands_below_its_figure_and_is_marked(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", lambda what, **options: shown.append((what, options)))
    figures.show(photographs(), "two pictures", "The right one is **whole**.")
    (_, none), (caption, options) = shown
    assert none == {} and caption.data == "*The right one is **whole**.*" and options == {"metadata": {"caption": True}}


def test_only_what_the_readme_shows_is_written_to_a_file_as_well():
    linked = re.findall(r"\(reports/figures/([\w-]+)\.jpg\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    sources = "".join(
        cell.source
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
    )
    assert sorted(linked) == re.findall(r"photographs=True,[^)]*name=\"([\w-]+)\"", sources)


# Pixels


@pytest.mark.parametrize("shape", [(2, 2), (32, 32), (100, 100), (127, 300), (128, 768)])
def test_small_pictures_are_magnified_by_whole_numbers(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    shown = figures.magnify(picture, 128)
    times = shown.shape[0] // shape[0]
    assert 128 <= min(shown.shape[:2]) < 256
    assert np.array_equal(shown, np.kron(picture, np.ones((times, times, 1), np.uint8)))


@pytest.mark.parametrize(("size", "parts"), [(256, 2), (512, 4), (640, 5)])
def test_large_pictures_are_reduced_to_means(size, parts):
    picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    means = picture.reshape(128, parts, 128, parts, 3).mean(axis=(1, 3))
    assert np.abs(figures.magnify(picture, 128) - means).max() <= 0.501


def test_values_between_0_and_1_are_rounded_to_pixels():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(3, axis=0)
    assert np.array_equal(figures.magnify(torch.from_numpy(pixels) / 255, 16), pixels.transpose(1, 2, 0))


def test_grids_and_galleries_show_every_picture_pixel_by_pixel():
    pictures = [np.random.default_rng(n).integers(0, 256, (128, 128, 3), dtype=np.uint8) for n in range(5)]
    grid = figures.picture_grid([pictures[:3], pictures[3:]], ["a", "b\nand more", "c"], ["one", "two"])
    gallery = figures.gallery(pictures, ["a title that is wider than its picture"] * 5, columns=2)
    rows = experiment_rows([Row(str(n), [picture], [f"{n} dB"]) for n, picture in enumerate(pictures)])
    assert all(holds(picture, figure) for picture in pictures for figure in (grid, gallery, rows))


def test_samples_are_shown_pixel_by_pixel():
    image, mask = (255 * photograph()).byte(), thin_holes().byte()
    pixels = image.permute(1, 2, 0).numpy()
    assert holds(pixels, samples_over_time({10: image[None]}, (image[None], mask[None])))
    assert holds(pixels, training_samples([(image, torch.ones_like(mask))] * 3))


def test_one_step_and_the_protocol_show_what_they_say():
    gt, mask, out = photograph(), thin_holes(), photograph().flip(2)
    step = one_step(gt, mask, out)
    comp = torch.where(mask > 0, gt, out)
    shown = [gt, figures.mask_picture(mask), figures.masked(gt, mask), out, comp]
    assert all(holds(figures.magnify(picture, 128), step) for picture in shown)
    crop = Crop(0, "a.png", "0.1-0.2", True, 0.15, gt, mask)
    assert holds(figures.magnify(4 * (comp - gt).abs(), 128), protocol(crop, comp))


def test_the_film_shows_each_step_in_turn_and_is_small(tmp_path):
    image, mask = (255 * photograph()).byte(), thin_holes().byte()
    frames = [(f"step {step:,}", (image // (9 - i))) for i, step in enumerate((0, 100, 6300))]
    for name in ("a.webp", "b.webp"):
        write_film(frames, (image, mask), tmp_path / name)
    data = (tmp_path / "a.webp").read_bytes()
    assert data == (tmp_path / "b.webp").read_bytes() and len(data) * 19 / 3 < 2**20  # both stages have 19 frames
    with PIL.Image.open(tmp_path / "a.webp") as film:
        assert (film.n_frames, film.is_animated, film.info["loop"]) == (3, True, 0)
        brightness = []
        for place in range(3):
            film.seek(place)
            width, height = film.size
            brightness.append(np.asarray(film.convert("L"))[height // 2, width // 3 : 2 * width // 3].mean())
        assert brightness == sorted(brightness) and width < 1000


def test_examples_of_verdicts_have_one_of_each():
    axis = verdict_examples().subfigs[0].axes[0]
    points = [line for line in axis.lines if line.get_marker() in ("o", "s", "D")]
    assert [label.get_text() for label in axis.get_yticklabels()] == [HOLDS, OPEN, FAILS]
    assert [point.get_marker() for point in points] == ["o", "D", "s"]


def test_strips_of_pictures_show_holes_in_their_colour():
    truth, holes = figures.magnify(photograph(), 128), np.zeros((128, 128, 3), np.uint8)
    holes[40:60, 30:90] = 255
    figure = picture_rows(truth, holes, {"filled": truth[::-1]})
    painted = truth.copy()
    painted[40:60, 30:90] = np.rint(255 * np.array(figures.HOLE))
    assert holds(truth, figure) and holds(truth[::-1], figure) and holds(painted, figure)


def test_intervals_have_the_colour_of_what_they_say():
    """For a claim, against it, or neither; each has its own marker as well, wherever the interval lies."""
    table = differences(4).assign(mean=[1, -1, 0, -2], speaks=[1, -1, 0, 1])
    axis = intervals([("title", table)], "dB").subfigs[0].axes[0]
    points = [line for line in axis.lines if line.get_marker() in ("o", "s", "D")]
    assert [point.get_xdata()[0] for point in points] == [1, -1, 0, -2]
    styles = [(point.get_color(), point.get_marker()) for point in points]
    assert len(set(styles)) == 3 and styles[0] == styles[3]


# Colours


# What a colour looks like, in linear RGB, to people who lack one kind of cone (Machado, Oliveira and Fernandes 2009).
SEEN = {
    "all colours": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("eyes", SEEN)
@pytest.mark.parametrize("colours", [figures.COLOURS, list(figures.METHODS.values())], ids=["cycle", "methods"])
def test_everyone_tells_the_colours_of_lines_apart(colours, eyes):
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SEEN[eyes]), 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    assert min(float(deltaE_ciede2000(a[None], b[None])[0]) for a, b in itertools.combinations(lab, 2)) > 10


def test_no_photograph_hides_the_colour_of_holes():
    hole = rgb2lab(np.array(figures.HOLE)[None, None])[0, 0]
    for path in sorted((ROOT / "src/pconv/photographs").glob("*.jpg")):
        pixels = read_image(path)
        small = cv2.resize(pixels, (96, 96), interpolation=cv2.INTER_AREA)
        assert np.linalg.norm(rgb2lab(small) - hole, axis=2).min() > 40, path.name


def test_validation_never_has_the_colour_of_training():
    figure = plot()
    assert len(figure.axes) == len(TERMS)
    for axis in figure.axes:
        colours = {line.get_label(): line.get_color() for line in axis.lines}
        assert colours == {"training": figures.TRAINING, "validation": figures.VALIDATION}
    only = training_curves([{"step": step, "val/loss": 0.5, "val/psnr": 20.0 + step} for step in range(1, 4)])
    assert [[line.get_color() for line in axis.lines] for axis in only.axes] == [[figures.VALIDATION]] * 2


def test_heights_that_are_compared_have_one_scale():
    shares = hole_ratios({"one": np.full(9, 0.2), "two": np.linspace(0, 0.6, 9)}, [0.01, 0.1, 0.6])
    assert len({axis.get_ylim() for axis in shares.axes}) == 1
    curves = evaluation_curves(method_rows(["pconv"]), {"psnr": "PSNR, dB"}, {True: "touching", False: "clear"})
    assert len({axis.get_ylim() for axis in curves.axes}) == 1


# Text


def experiments(count, names):
    """Return a table of `count` changed parameters and one of metrics, a row for each name."""
    changes = pd.DataFrame({f"loss.term{i}": map(str, range(len(names))) for i in range(count)}, names)
    return changes, pd.DataFrame({"PSNR, dB": 20.0, "SSIM": 0.8, "L1, %": 2.0, "perceptual distance": 0.02}, names)


def differences(count):
    """Return a table of differences, as notebook 07 draws them."""
    row = {
        "comparison": LONG,
        "holes": "0.1-0.2",
        "mean": 1.0,
        "low": 0.5,
        "high": 1.5,
        "seeds_low": 0,
        "seeds_high": 2,
        "speaks": 1,
    }
    return pd.DataFrame([row] * count)


def method_rows(names):
    """Return a table as evaluation_curves takes it."""
    return pd.DataFrame(
        {"method": name, "hole_ratio": x, "touches_border": touches, "n": 2}
        | {key: 20 + x for key in MEASURES}
        | {f"{key}_std": 1.0 for key in MEASURES}
        for name in names
        for touches in (True, False)
        for x in (0.15, 0.25)
    )


def levels(count):
    """Return labels and masks as the figure of the network takes them."""
    return [(f"PConv{i}\n512 px\n1024 channels", torch.ones(1, 8, 8)) for i in range(count)]


MEASURES = {"psnr": "PSNR, dB", "ssim": "SSIM", "l1": "L1, %", "perceptual": "perceptual distance"}
ALL = ("total", "valid", "hole", "tv", "perceptual", "style")
LEVELS = ["input", *(f"PConv{i}" for i in range(1, 9))]
LONG = "a-name-that-is-longer-than-most-names"
TEXTS = {
    "titles": lambda: figures.picture_grid([[photograph(32)]] * 2, [LONG], [f"{3 * LONG}\nin two lines", LONG]),
    "labels": lambda: figures.picture_grid([[photograph(32)]], labels=["three\nshort\nlines"]),
    "gallery": lambda: figures.gallery([photograph(32)] * 3, [f"{LONG}\nin\nthree lines"] * 3, columns=2),
    "rows": lambda: experiment_rows([Row(LONG, [np.zeros((32, 32, 3), np.uint8)] * 6, ["0.1-0.2"] * 6)]),
    "pictures": lambda: figures.picture_grid([[photograph()] * 7] * 2, ["navier-\nstokes"] * 7, ["0.1-0.2", "0.2-0.3"]),
    "two scales": lambda: training_curves([{"step": s, "train/loss": 10.0**-s, "val/loss": 0.5} for s in (1, 5, 6000)]),
    "narrow": lambda: training_curves([{"step": s, "train/loss": 0.1 + s / 200, "val/loss": 0.13} for s in (2, 9, 20)]),
    "evaluation": lambda: evaluation_curves(method_rows(figures.METHODS), MEASURES, {True: "touching", False: "clear"}),
    "ratios": lambda: hole_ratios({"one": np.linspace(0, 0.6, 99)}, [BINS[0][0], *(high for _, high in BINS)]),
    "dilation": lambda: dilation([1, 3, 5, 7, 9, 13], [photograph(32)] * 6, {f"{i}": [0.1] * 6 for i in range(5)}),
    "frequency": lambda: hole_frequency(dict.fromkeys(("as they come", "touching the edge", "kept clear"), np.eye(9))),
    "window": lambda: window_in_numbers(np.full((3, 3), 0.25), np.eye(3), np.full((3, 3), 0.111), 0.1),
    "network": lambda: network(np.zeros((8, 8, 3)), levels(4), levels(3)),
    "shares": lambda: valid_shares({LONG: pd.DataFrame(np.eye(6, 9), [f"0.{i}-0.{i + 1}" for i in range(6)], LEVELS)}),
    "overfitting": lambda: overfit_curves(pd.DataFrame({"step": range(9), "psnr": 20.0, **dict.fromkeys(ALL, 0.1)}), 5),
    "bars": lambda: term_bars({"packaged": pd.DataFrame(dict.fromkeys(ALL, [0.001, 0.5, 90]), [LONG[:20], "b", "c"])}),
    "one parameter": lambda: metric_against_parameter(*experiments(1, ["bccf388", "style-120", "width-16", LONG])),
    "five parameters": lambda: metric_against_parameter(*experiments(5, ["bccf388", LONG])),
    "layers": lambda: shrinking(np.ones((8, 8)), {LONG: [0.3, 0.1], "two": [0.2, 0.1]}),
    "curves": plot,
    "intervals": lambda: intervals([(f"{LONG} {LONG} {LONG}", differences(1)), ("two", differences(6))], "dB"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_no_text_is_cut(name):
    pixels = figures.draw(TEXTS[name]())
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()


def texts(figure):
    """Return the texts that a figure shows, and the room of each in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    found = [text for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize")) if text.get_text()]
    return {text: text.get_window_extent(renderer) for text in found if text.get_visible()}


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {"titles"}))  # its label alone is wider than any page
def test_text_can_be_read_at_half_width(name):
    """Where a figure is shown 400 px wide, as on a phone or beside another, the smallest letters have 7 px."""
    figure = TEXTS[name]()
    sizes = [text.get_fontsize() * figure.dpi / 72 for text in texts(figure)]
    assert min(sizes) * min(1, 400 / figure.bbox.width) > 7


@pytest.mark.parametrize("name", TEXTS)
def test_ticks_do_not_pile_up(name):
    figure = TEXTS[name]()
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    for axes in figure.findobj(lambda artist: hasattr(artist, "get_xticklabels")):
        for axis, low, high in ((axes.xaxis, "x0", "x1"), (axes.yaxis, "y0", "y1")):
            least, most = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if least <= tick.get_loc() <= most]
            boxes = [tick.label1.get_window_extent(renderer) for tick in ticks if tick.label1.get_visible()]
            for a, b in itertools.pairwise(sorted(boxes, key=lambda box: getattr(box, low))):
                assert getattr(a, high) <= getattr(b, low) + 1
            assert not any(tick.label1.get_text() for tick in axis.get_minor_ticks())


@pytest.mark.parametrize("limits", [(0.6, 4.1), (1e-6, 1e4), (0.101, 0.24), (0.95, 1.02), (3, 70), (2.46, 2.48)])
def test_logarithmic_axes_have_few_plain_numbers_apart(limits):
    figure = Figure(figsize=(3, 1.5))
    axis = figure.subplots()
    axis.plot([0, 1], limits)
    figures.log_scale(axis)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    ticks = axis.yaxis.get_major_ticks()
    assert 2 <= len(ticks) <= 4 and not any(tick.label1.get_text() for tick in axis.yaxis.get_minor_ticks())
    assert [float(tick.label1.get_text()) for tick in ticks] == pytest.approx([tick.get_loc() for tick in ticks])
    boxes = [tick.label1.get_window_extent(renderer) for tick in ticks]
    assert all(a.y1 < b.y0 for a, b in itertools.pairwise(boxes))
    assert all(len(tick.label1.get_text()) <= 7 for tick in ticks)


# Evaluation


def crops_and_fillings(*methods):
    """Return two crops and what each method made of them, all different pictures."""
    crops = [Crop(i, f"{i}.png", "0.1-0.2", True, 0.15, photograph(128) / (1 + i), thin_holes()) for i in range(2)]
    comps = {name: torch.full((2, 3, 128, 128), (i + 1) / 10) for i, name in enumerate(methods)}
    for comp in comps.values():
        comp[1, :, ::2] = 0  # unlike the first
    return crops, comps


def order(figure, pictures):
    """Return the pictures, by name, from left to right as the first row shows them."""
    pixels = figures.draw(figure)
    places = {}
    for name, picture in pictures.items():
        match = cv2.matchTemplate(pixels, figures.magnify(picture, 128), cv2.TM_SQDIFF)
        places[name] = int(match[:200].min(0).argmin())
    return sorted(places, key=places.get)


def test_networks_stand_beside_the_truth():
    crops, comps = crops_and_fillings("pconv", "published", "telea", "biharmonic")
    pictures = {name: comp[0] for name, comp in comps.items()} | {"truth": crops[0].gt}
    figure = evaluation_pictures(crops, comps)
    assert order(figure, pictures) == ["telea", "biharmonic", "pconv", "published", "truth"]
    assert "published" in [text.get_text() for text in figure.texts]
    cases = pd.DataFrame(
        {
            "photograph": ["0.png", "1.png"],
            "hole_ratio": 0.15,
            "baseline": ["biharmonic", "telea"],
            "ours": 1.0,
            "theirs": 2.0,
            "gain": -1.0,
        }
    )
    figure = evaluation_cases(cases, crops, comps)
    del pictures["telea"]
    assert order(figure, pictures) == ["biharmonic", "pconv", "published", "truth"]


def test_every_method_has_a_colour_of_its_own():
    names = ["pconv", "published", *METHODS]
    assert set(figures.METHODS) == set(names) and len(set(figures.METHODS.values())) == len(names)
    figure = evaluation_curves(method_rows(names), {"psnr": "PSNR, dB"}, {True: "touching", False: "clear"})
    for axis in figure.axes:
        assert [line.get_color() for line in axis.lines] == [figures.METHODS[name] for name in names]
        assert len({line.get_marker() for line in axis.lines}) == len(names)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["pconv (ours)", *names[1:]]
