"""Protocols of other people's clients, each as a thin adapter onto the same codecs, models, limits and errors.

`RITMO_WIRES` says which are served. Their routes are FastAPI's: they are not the hot ones.
"""
