"""Training of one stage: the loop and what serves it."""
