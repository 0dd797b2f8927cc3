"""Photographs: decoding, sources, the manifest with its splits, and crops."""
