"""Image inpainting for irregular holes with partial convolutions (Liu et al., ECCV 2018)."""
