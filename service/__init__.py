"""Ritmo's service: knows models only through `models/<name>/<version>/`, never through training code."""
