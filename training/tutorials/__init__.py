"""The six models of the two tutorials: command, training recipe, export, table of results."""
