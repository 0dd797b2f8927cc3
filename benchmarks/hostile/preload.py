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
    parameters,
    photographs,
    weights,
)

KINDS = (checkpoints, commands, filling, folders, indexes, masks, measures, network, parameters, photographs, weights)

__all__ = ["CASES", "KINDS"]
