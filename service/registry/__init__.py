"""Models on disk and models in memory: which versions there are, which of them are served, and how they stand.

It imports `contract`, `runtime`, `metrics`, `batching`, `backend` and the settings. `api` looks models up in it.
"""
