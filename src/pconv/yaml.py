"""Reading of YAML files within limits of size and depth, which refuses whatever exceeds them at once."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from pconv.errors import FileError, cut
from pconv.files import read_small

MOST_BYTES = 100_000  # of a file, and characters of its content once every alias is written out
DEEPEST = 20


def read_yaml(path: Path):
    """Return the content of a YAML 1.2 file of one document. Raises FileError, one short line with file and line."""
    try:
        content = read_small(path, MOST_BYTES)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from None
    reader = YAML(typ="safe", pure=True)  # the same parser everywhere, whether or not the one in C is installed
    reader.Constructor = _Constructor
    try:
        _check_extent(content, path)
        return reader.load(content)
    except (YAMLError, TypeError) as error:  # TypeError: a key made of lists or mappings
        raise FileError(f"{path}: not valid YAML: {_first_problem(error)}") from None


def _check_extent(content: bytes, path: Path) -> None:
    """Raise FileError if the content is nested too deeply or would be too long with every alias expanded.

    The parser's events show this beforehand, since it neither recurses nor follows aliases.
    """
    extents: dict[str, int] = {}  # of each anchor's content, once that has ended
    unfinished: list[tuple[str | None, int]] = []  # collections: their anchor, and the extent at their start
    extent = 0
    for event in YAML(typ="safe", pure=True).parse(content):
        if isinstance(event, CollectionStartEvent):
            unfinished.append((event.anchor, extent))
            extent += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, start = unfinished.pop()
            extents[anchor] = extent - start
        elif isinstance(event, ScalarEvent):
            extents[event.anchor] = 1 + len(event.value)
            extent += extents[event.anchor]
        elif isinstance(event, AliasEvent):
            if event.anchor in (anchor for anchor, _ in unfinished):
                raise FileError(f"{path}: line {event.start_mark.line + 1}: *{cut(event.anchor)} contains itself")
            extent += extents.get(event.anchor, 0)
        if len(unfinished) > DEEPEST:
            raise FileError(f"{path}: line {event.start_mark.line + 1}: nested more than {DEEPEST} deep")
        if extent > MOST_BYTES:
            raise FileError(f"{path}: line {event.start_mark.line + 1}: too long with every alias expanded")


class _Constructor(SafeConstructor):
    """Names the line of a value that cannot be read: ruamel.yaml passes on what Python raises for, say, a day 32."""

    def construct_object(self, node, deep=False):
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and abs(value) >= 2**63:
                raise OverflowError("a number of more than 63 bits")
        except YAMLError:
            raise
        except Exception as error:  # nearly any, depending on the type that the file claims
            problem = f"{cut(node.value)} cannot be read: {cut(error)}"
            raise ConstructorError(problem=problem, problem_mark=node.start_mark) from None
        return value


def _first_problem(error: Exception) -> str:
    """Reduce ruamel.yaml's message of several lines to one."""
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: {cut(error.problem, 160)}" if mark else cut(str(error).partition("\n")[0])
