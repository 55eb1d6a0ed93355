"""Models on disk and models in memory: which versions there are, which of them are served, and how they stand.

It imports `contract`, `runtime`, `metrics`, `batching` and `backend`. `api` looks models up in it.
"""
