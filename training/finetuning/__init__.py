"""Models of one's own data: the shipped forecaster tuned to a file of series, a digit reader of a folder of images.

It imports `data`, `networks`, `fit`, `evaluation`, `forecaster` and `digits`, and of the service what reads tables and
images. The command `ritmo train` runs it as a program of its own.
"""
