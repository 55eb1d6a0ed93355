"""The six models of the two tutorials: configuration, training recipe, export, table of results, command.

It imports `data`, `networks`, `fit`, `evaluation`, `folders` and the service's contract and backend.
`python -m training tutorials` calls it, and `reports` shows its table of results.
"""
