"""Import the cases of all kinds: the one module that knows them."""

from hostile import CASES, indexes, masks, measures, parameters, weights

__all__ = ["CASES", "indexes", "masks", "measures", "parameters", "weights"]
