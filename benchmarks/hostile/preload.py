"""Import the cases of all kinds: the one module that knows them."""

from hostile import CASES, checkpoints, indexes, masks, measures, parameters, weights

__all__ = ["CASES", "checkpoints", "indexes", "masks", "measures", "parameters", "weights"]
