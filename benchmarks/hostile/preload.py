"""Import the cases of all kinds: the one module that knows them."""

from importlib import import_module

from hostile import CASES

KINDS = (
    "checkpoints",
    "commands",
    "filling",
    "folders",
    "indexes",
    "masks",
    "measures",
    "network",
    "own_masks",
    "parameters",
    "photographs",
    "shards",
    "weights",
)
for kind in KINDS:  # each adds its cases to CASES
    import_module(f"hostile.{kind}")

__all__ = ["CASES"]
