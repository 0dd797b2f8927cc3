"""The base of all errors that are written for a reader."""


class PConvError(Exception):
    """An error whose message says what is wrong, names the file, key or crop, and says what to do about it.

    Its traceback would add nothing, so neither a terminal nor a notebook shows one. A programming error keeps its own.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]
