"""The playground of notebook 08: a widget in which a hole is drawn by hand and filled at once."""
