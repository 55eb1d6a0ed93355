"""The default forecaster: configuration, training windows, training recipe, calibration and export, command.

It imports `data`, `networks`, `fit`, `evaluation`, `folders` and the service's contract.
Only `python -m training forecaster` calls it.
"""
