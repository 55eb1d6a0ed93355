"""Data sets: real series, MNIST, and the generators of synthetic series and digits.

It imports `training.folders` and nothing else of this project.
Evaluation, the model packages and the reports call it.
"""
