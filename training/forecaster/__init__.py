"""The default forecaster: command, training recipe, export."""
