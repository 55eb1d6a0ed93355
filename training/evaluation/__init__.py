"""Scores, backtests, corruptions and plots of exported models.

It imports `data` and the service's backend. The models' folders and `reports` call it.
"""
