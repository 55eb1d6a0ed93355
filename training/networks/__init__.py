"""The networks, written around `step(observations, lengths, state)` as docs/models.md asks."""
