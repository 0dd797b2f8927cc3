"""The command `pconv`; `pconv fill` fills photographs."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from pconv.errors import PConvError
from pconv.filling.batch import Task, plan_batch

DESCRIPTION = """Fill the holes of photographs, each at its own size, into files of the same names.

White in the mask is the hole, black is kept. Without --mask the hole is what is transparent in the photograph. A mask
may also be transparent where the hole is. One mask serves all photographs; several, or a folder of them, belong to the
photographs of the same names."""
EXAMPLES = """examples:
  pconv fill photo.jpg --mask hole.png --output filled
  pconv fill holiday/ --mask masks/ --output filled

Format, size, bits, colour profile and metadata are the photograph's own. Pixels outside the hole keep their exact
values, but in JPEG, which cannot be written without loss; --png avoids that."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 1 if something could not be filled."""
    options = _parser().parse_args(arguments)
    try:
        tasks = plan_batch(options.photos, options.mask, options.output, options.png, options.overwrite)
        # They take seconds to import; mistakes in names show at once.
        from pconv.filling.network import load_pretrained

        model = load_pretrained(options.weights) if options.weights else load_pretrained()
    except (PConvError, OSError) as error:
        print(f"pconv fill: {error}", file=sys.stderr)
        return 1
    failed = sum(not _filled(task, model, f"{i}/{len(tasks)} {task.photo}:") for i, task in enumerate(tasks, start=1))
    if len(tasks) > 1:
        print(f"{len(tasks) - failed} of {len(tasks)} photographs are in {options.output}", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pconv", description="Image inpainting with partial convolutions.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    fill = commands.add_parser(
        "fill", help="fill the holes of photographs", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=raw
    )
    fill.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="a photograph, or a folder of them")
    fill.add_argument(
        "--mask", nargs="+", type=Path, default=[], metavar="HOLE", help="masks, white in the hole, or a folder"
    )
    fill.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder for the results")
    fill.add_argument("--png", action="store_true", help="write PNGs, whatever the format of the photographs")
    fill.add_argument(
        "--overwrite", action="store_true", help="replace results that exist already, but never a photograph or mask"
    )
    fill.add_argument("--weights", metavar="NAME", help="published weights by name, or the path of other ones")
    return parser


def _filled(task: Task, model, label: str) -> bool:
    """Fill a photograph, say in one line what was wrong with it, and return whether there is a result."""
    from pconv.filling.fill import fill_file

    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", module=r"pconv\.")
            fill_file(task, model, label)
    except PConvError as error:
        print(f"pconv fill: {error}", file=sys.stderr)
        return False
    for warning in heard:
        print(f"pconv fill: {warning.message}", file=sys.stderr)
    return True
