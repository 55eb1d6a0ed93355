"""The networks, written around `step(observations, lengths, state)` as docs/models.md asks.

It imports nothing of this project, so that a network is torch alone.
The model packages train and export them.
"""
