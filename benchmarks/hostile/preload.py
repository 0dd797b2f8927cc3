"""Import the cases of all kinds: the one module that knows them."""

from hostile import CASES, checkpoints, indexes, masks, measures, network, parameters, weights

KINDS = (checkpoints, indexes, masks, measures, network, parameters, weights)

__all__ = ["CASES", "KINDS"]
