"""From the bytes of a picture to the 28 rows of a digit: decoding, binarisation, strokes, connected components.

It imports `contract` only. `codec` calls it for every picture of a request.
"""
