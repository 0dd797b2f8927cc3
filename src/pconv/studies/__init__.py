"""What the notebooks measure, their tables and their words: a module for each notebook."""
