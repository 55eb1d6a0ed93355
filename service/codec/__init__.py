"""From the bytes of a request to the items of the engine, and from results to the bytes of an answer.

It imports `contract`, `imaging`, `runtime` for its functions in C, and the settings. `api` calls it, once before and
once after the model.
"""
