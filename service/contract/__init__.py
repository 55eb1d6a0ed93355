"""The vocabulary that serving and training share: manifest, items and results of a model, error tree.

It imports nothing else of this project. Every other package of `service`, and `training`, builds on it.
"""
