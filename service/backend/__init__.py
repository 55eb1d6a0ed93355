"""Networks: loading, proving and warming up a TorchScript checkpoint, and running batches of ragged sequences.

It imports `contract` and `runtime`; it is the only package that imports torch. `registry` and the exports of training
call it.
"""
