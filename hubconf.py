"""For `torch.hub.load(repository, "pconv_unet")`: the published network, in evaluation mode."""

import sys
from pathlib import Path

dependencies = ["PIL", "cv2", "numpy", "pandas", "pydantic", "ruamel.yaml", "safetensors", "tifffile", "torch", "tqdm"]
sys.path.insert(0, str(Path(__file__).parent / "src"))  # of the clone that torch.hub has made


def pconv_unet(name: str = "photos-256/partial"):
    """Return the network with published weights, or those of a path: forward(image, mask) -> image.

    Images are (N, 3, H, W) in [0, 1], masks (N, 1, H, W), 1 where valid and 0 in the hole.
    """
    from pconv import load_pretrained

    return load_pretrained(name)


def inpaint(*arguments, **options):
    """Fill a photograph as `pconv.inpaint` does: torch.hub.load(repository, "inpaint", "photo.jpg", "hole.png")."""
    from pconv import inpaint

    return inpaint(*arguments, **options)
