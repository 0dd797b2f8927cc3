"""The base of all errors that are written for a reader."""


class PConvError(Exception):
    """An error whose message says what is wrong, names the file, key or crop, and says what to do about it.

    Its traceback would add nothing, so neither a terminal nor a notebook shows one. A programming error keeps its own.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class FileError(PConvError, ValueError):
    """A file that cannot be used; the message names it and says why."""


def cut(value, length: int = 80) -> str:
    """Return a value as text on one line, for a message: at most `length` characters, the rest an ellipsis."""
    text = str(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= length else f"{text[: length - 1]}…"
