"""Data sets: real series, MNIST, and the generators of synthetic series and digits.

It imports nothing else of training. Every model's folder reads from it.
"""
