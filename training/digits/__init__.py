"""The default digit reader: configuration and stages, augmentation, training recipe, temperature, export, command.

It imports `data`, `networks`, `fit`, `evaluation`, `folders` and the service's contract and backend.
Only `python -m training digits` calls it.
"""
