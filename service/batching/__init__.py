"""The queue of each model and the thread that runs batches of them, fairly and within their deadlines.

It imports `contract` and `runtime` and never looks into an item. `registry` makes one scheduler and one queue for each
model.
"""
