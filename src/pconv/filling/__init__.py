"""Filling the holes of photographs of any size and format with a trained network."""
