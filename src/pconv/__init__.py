"""Image inpainting for irregular holes with partial convolutions (Liu et al., ECCV 2018).

filled = pconv.inpaint("photo.jpg", "hole.png")  # white is the hole
model = pconv.load_pretrained()
"""

_LAZY = {"inpaint": "pconv.filling.fill", "load_pretrained": "pconv.filling.network"}  # they import PyTorch
__all__ = ["inpaint", "load_pretrained"]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'pconv' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
