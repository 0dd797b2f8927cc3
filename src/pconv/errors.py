"""The base class of errors that are written for a reader."""


class PConvError(Exception):
    """An error whose message says what is wrong, in which file, key or cell, and what to do about it.

    A traceback would add nothing, so neither a terminal nor a notebook shows one. Programming errors keep theirs.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class FileError(PConvError, ValueError):
    """A file that cannot be used; the message names it and says why."""


def cut(value, length: int = 80) -> str:
    """Return a value as one line of text for a message, shortened to `length` characters with an ellipsis."""
    text = str(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= length else f"{text[: length - 1]}…"
