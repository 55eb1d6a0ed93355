"""Fitting in general: training loop, batch order, optimiser, options, weights files, record of a run, export.

It imports the service's contract (for the manifest) and `training.folders`, and no network, data set or score.
The four model packages (`forecaster`, `sines`, `digits`, `tutorials`) call it.
"""
