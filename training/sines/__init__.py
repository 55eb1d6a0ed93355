"""The specialist for the tutorial's sine mixture: configuration, training windows, training recipe, export, command.

It imports `data`, `networks`, `fit`, `evaluation`, `folders` and the service's contract.
Only `python -m training sines` calls it.
"""
