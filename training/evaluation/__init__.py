"""Scores, backtests, corruptions and plots of exported models, and scores of networks while they are trained.

It imports `data`, `folders` and the service's contract and backend, and no network and no code of a fit.
The model packages, `reports` and the benchmarks call it.
"""
