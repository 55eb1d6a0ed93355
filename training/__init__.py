"""Offline training: `python -m training COMMAND` writes `models/<name>/<version>/`, scores them and reports on them.

It may import the service's contract and backend, so that a checkpoint is proved by the code that will serve it.
The service never imports it.
"""
