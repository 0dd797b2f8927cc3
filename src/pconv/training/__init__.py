"""Training of one stage: the loop and what serves it."""

from pconv.errors import PConvError


class TrainingError(PConvError):
    """Training that cannot start or go on; the message says where it stopped and what to do."""
