"""Fitting in general: the training loop, the record of a run, the export of a checkpoint.

It imports networks' contract and the service's backend for the proof of an export. Every model's folder calls it.
"""
