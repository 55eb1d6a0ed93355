"""training/RESULTS.md, its tables and figures, made from the exported models."""
