"""Import the cases of all kinds: the one module that knows them."""

from hostile import CASES, masks, measures, parameters

__all__ = ["CASES", "masks", "measures", "parameters"]
