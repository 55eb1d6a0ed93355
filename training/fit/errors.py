"""What a fit refuses."""

from __future__ import annotations


class OtherRun(ValueError):
    """A checkpoint belongs to a run with another configuration, other data or other code."""
