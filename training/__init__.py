"""Ritmo's offline training: `python -m training <command>` writes `models/<name>/<version>/`."""
