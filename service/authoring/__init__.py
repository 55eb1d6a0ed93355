"""`ritmo model`: a folder to begin a model of one's own with, and the whole contract checked on an exported one.

It imports `backend`, `contract` and `runtime`. docs/own-models.md tells how the two commands are used.
"""
