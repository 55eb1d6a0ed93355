"""Fetching one file over HTTP, and writing it so that an interruption leaves no half of it."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

TIMEOUT_SECONDS = 60.0


def fetch(url: str) -> bytes:
    """The bytes at `url`, announced on standard output; raises ConnectionError where it does not answer."""
    print(f"downloading {url}", flush=True)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - an address of our own lists, or the user's
            content: bytes = answer.read()
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection open
        raise ConnectionError(f"{url} does not answer: {error}") from error
    return content


def write(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)
