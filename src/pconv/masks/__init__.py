"""Holes: the two conventions, mask files, drawing, and the sets that the pipeline uses."""
