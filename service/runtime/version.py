"""Version of the installed package, as `ritmo --version` and the OpenAPI document state it."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Version of the distribution `ritmo`; "0" in a checkout that is not installed."""
    try:
        return metadata.version("ritmo")
    except metadata.PackageNotFoundError:
        return "0"
