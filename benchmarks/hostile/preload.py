"""Import the cases of all kinds: the one module that knows them."""

from hostile import (
    CASES,
    checkpoints,
    commands,
    filling,
    folders,
    indexes,
    masks,
    measures,
    network,
    own_masks,
    parameters,
    photographs,
    weights,
)

KINDS = (
    checkpoints,
    commands,
    filling,
    folders,
    indexes,
    masks,
    measures,
    network,
    own_masks,
    parameters,
    photographs,
    weights,
)

__all__ = ["CASES", "KINDS"]
