"""Processes, listeners and the HTTP/1.1 protocol: starting, supervising, draining and stopping the service.

It imports `api` and what lies below. The command line calls it.
"""
