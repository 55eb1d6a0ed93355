"""training/RESULTS.md with its tables and figures, made from the exported models, and pictures of the priors.

It imports `data`, `evaluation`, `tutorials` (its table of results), `folders` and the service's contract and backend.
`python -m training report` and `python -m training gallery` call it.
"""
