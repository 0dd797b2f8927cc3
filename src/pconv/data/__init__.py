"""Photographs: decoding, sources, checks, the list of each split, and crops."""
