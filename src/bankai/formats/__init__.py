"""Model files in and out. Names and row order are translated here and nowhere else; no torch."""
