"""The one style of all figures, and what several notebooks draw: data in, a matplotlib Figure out.

Each notebook has a module of its own here, so that a change to its figures makes no other stage run again.

Pictures are drawn pixel by pixel (magnified by whole numbers, never smoothed), and holes have one colour throughout.
Text is large enough to be read where a figure is shown 400 px wide, as on a phone.
"""

from __future__ import annotations

import math
from itertools import accumulate, zip_longest

import cv2
import matplotlib as mpl
import numpy as np
from IPython.display import Image, Markdown, display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from matplotlib.transforms import IdentityTransform

from pconv.project import figure_folder

HOLE = (1.0, 0.0, 1.0)  # the colour of a hole, in every picture: magenta, which photographs hardly ever contain
# Okabe and Ito's colours, which people who see no red, no green or no blue tell apart; yellow is too pale for lines.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#000000")
METHODS = {  # the colour of a method, in every plot
    "pconv": "#d55e00",
    "published": "#cc79a7",
    "mean fill": "#000000",
    "telea": "#0072b2",
    "navier-stokes": "#56b4e9",
    "biharmonic": "#009e73",
    "bicubic": "#e69f00",
}
TRAINING, VALIDATION = COLOURS[1], COLOURS[0]
WIDTH = 7.6  # inches of a plot
GAP = 8  # pixels between pictures
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]  # smallest for line art
JPEG = [
    *(cv2.IMWRITE_JPEG_QUALITY, 90),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    *(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    *(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
]
mpl.rcParams.update(
    {
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "font.size": 12,
        "axes.titlesize": 12,
        "axes.labelsize": 12,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "axes.prop_cycle": mpl.cycler(color=COLOURS),
        "image.interpolation": "none",
        "legend.frameon": False,
        "lines.linewidth": 1.8,
    }
)


def draw(figure: Figure) -> np.ndarray:
    """Return the pixels of a figure: (H, W, 3) uint8, RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def encode(figure: Figure, photographs: bool = False) -> bytes:
    """Return a figure as an image file: an exact PNG, or a JPEG, about half as large, if it shows photographs.

    The JPEG keeps colour at full resolution; at half of it, as is usual, the edges of holes blur. WebP would be smaller
    still, but GitHub, nbviewer and nbconvert do not show it in a notebook.
    """
    suffix, options = (".jpg", JPEG) if photographs else (".png", PNG)
    _, file = cv2.imencode(suffix, cv2.cvtColor(draw(figure), cv2.COLOR_RGB2BGR), options)
    return file.tobytes()


def show(figure: Figure, alt: str, caption: str = "", photographs: bool = False, name: str | None = None) -> None:
    """Display a figure in the notebook, in the format that `encode` chooses; nothing else keeps a copy.

    alt: what it shows, for whoever cannot see it. caption: what to see in it, Markdown, in the line below; the site
    finds it by its metadata. Only a figure that a page outside the notebook shows has a `name`:
    reports/figures/`name`.png, or .jpg, gets the same bytes.
    """
    data = encode(figure, photographs)
    if name:
        path = figure_folder() / f"{name}.{'jpg' if photographs else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    display(Image(data=data, alt=alt))
    if caption:
        display(Markdown(f"*{caption}*"), metadata={"caption": True})


def to_picture(image) -> np.ndarray:
    """Turn a float tensor (3, H, W) or (1, H, W) in [0, 1], or a uint8 array, into (H, W, 3) for imshow."""
    if isinstance(image, np.ndarray):
        return image
    picture = image.detach().float().clamp(0, 1).cpu().numpy().transpose(1, 2, 0)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def masked(image, mask) -> np.ndarray:
    """Return an image (3, H, W) with the hole of its mask (1, H, W) painted in the hole colour."""
    valid = to_picture(mask)
    return np.where(valid > 0.5, to_picture(image), np.array(HOLE))


def picture_grid(rows, columns=(), labels=(), cell: int = 128) -> Figure:
    """Draw rows of pictures with a title above each column and a label before each row; `cell` as for `magnify`."""
    return draw_tiles(rows, [columns, *[()] * (len(rows) - 1)], labels, cell)


def gallery(pictures, titles, columns: int = 5, cell: int = 128) -> Figure:
    """Draw pictures in rows of `columns`, each below its own title; `cell` as for `magnify`."""
    starts = range(0, len(pictures), columns)
    rows, titles = ([each[start : start + columns] for start in starts] for each in (pictures, titles))
    return draw_tiles(rows, titles, (), cell)


def magnify(image, cell: int) -> np.ndarray:
    """Return an image, as `to_picture` takes it, with its shorter side `cell` pixels or more, but less than twice that.

    A small one is magnified by a whole number, so that each pixel becomes a square; a large one is reduced by a whole
    number, so that each pixel is a mean of squares. The result is (H, W, 3) uint8.
    """
    picture = to_picture(image)
    if picture.dtype != np.uint8:
        picture = np.rint(255 * picture).astype(np.uint8)
    height, width = picture.shape[:2]
    times = math.ceil(cell / min(height, width))
    if times > 1:
        return picture.repeat(times, axis=0).repeat(times, axis=1)
    parts = min(height, width) // cell
    return cv2.resize(picture, (width // parts, height // parts), interpolation=cv2.INTER_AREA)


def draw_tiles(rows, titles, labels, cell: int) -> Figure:
    """Draw rows of pictures, with a title above each and a label before each row; `cell` as for `magnify`.

    Axes would resample pictures to the room that text leaves. Here pictures keep their pixels, and text gets its room.
    """
    tiles = [[magnify(image, cell) for image in row] for row in rows]
    height, width = np.max([tile.shape[:2] for row in tiles for tile in row], axis=0)
    size = max(12, (width + GAP) * max(map(len, tiles)) / 72)  # points; more where a figure is wide and will be reduced
    title_columns = zip_longest(*titles, [""] * max(map(len, tiles)), fillvalue="")
    widths = [max([width, *(_text_size(title, size)[0] for title in column)]) for column in title_columns]
    heads = [max([0, *(_text_size(title, size)[1] for title in row)]) for row in titles]
    left = max([GAP, *(_text_size(label, size)[0] for label in labels)])
    lefts = list(accumulate([w + GAP for w in widths], initial=left))
    tops = list(accumulate([head + height + GAP for head in heads], initial=GAP))
    figure = _blank(lefts[-1], tops[-1])
    for row, names, head, top in zip(tiles, titles, heads, tops, strict=False):
        y = tops[-1] - top - head  # pixels count from the bottom
        for tile, x, room in zip(row, lefts, widths, strict=False):
            figure.figimage(tile, x + (room - tile.shape[1]) // 2, y - tile.shape[0])
        for name, x, room in zip(names, lefts, widths, strict=False):
            _write(figure, x + room / 2, y + GAP / 2, name, ha="center", va="bottom", fontsize=size)
    for label, head, top in zip(labels, heads, tops, strict=False):
        y = tops[-1] - top - head - height / 2
        _write(figure, left - GAP, y, label, ha="right", va="center", fontsize=size)
    return figure


def _blank(width: int, height: int) -> Figure:
    """Return an empty figure of this many pixels. The half pixel outlives rounding, since canvases round down."""
    dpi = mpl.rcParams["figure.dpi"]
    return Figure(figsize=((width + 0.5) / dpi, (height + 0.5) / dpi), layout="none")


def _write(figure: Figure, x: float, y: float, text: str, **style) -> None:
    """Write text at pixels counted from the lower left corner."""
    figure.text(x, y, text, transform=IdentityTransform(), **style)


def _text_size(text: str, size: float) -> tuple[int, int]:
    """Return the width and height of some lines of text in pixels, with a gap to both sides and half a gap below."""
    box = FigureCanvasAgg(Figure()).figure.text(0, 0, text, fontsize=size).get_window_extent()
    return math.ceil(box.width) + 2 * GAP, math.ceil(box.height) + GAP // 2


def mask_picture(mask) -> np.ndarray:
    """Show a mask (1, H, W) alone: valid pixels in light grey, the hole in its colour."""
    return masked(mask.new_full((3, *mask.shape[1:]), 0.92), mask)


def log_scale(axis, side: str = "y") -> None:
    """Make an axis logarithmic, after all was drawn, with few ticks, labelled as plain numbers.

    Matplotlib's own ticks pile up in small panels, most of all where a range is less than a decade.
    """
    axis.set(**{f"{side}scale": "log"})
    which = axis.yaxis if side == "y" else axis.xaxis
    which.set_major_locator(FixedLocator(_log_ticks(*which.get_view_interval())))
    which.set_major_formatter(lambda value, _: f"{value:g}")
    which.set_minor_locator(NullLocator())


def _log_ticks(low: float, high: float) -> list[float]:
    """Return 2 to 4 round numbers in a range of positive ones: powers of ten, or else what lies between them."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) > 2:
            return ticks[:: math.ceil(len(ticks) / 4)]
    return [tick for tick in MaxNLocator(3).tick_values(low, high) if low <= tick <= high]
