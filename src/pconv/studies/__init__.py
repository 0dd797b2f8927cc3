"""What the notebooks measure, with their tables and words: one module per notebook."""
