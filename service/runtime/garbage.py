"""Python's garbage collector, kept away from what stays for good.

A collection of the oldest generation looks at every object that is alive, while no other thread runs: 120 ms once
torch, with its two hundred thousand objects, is imported. Objects that are frozen are not looked at.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


def freeze() -> None:
    """Collect garbage; what is then alive is never looked at again."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def collected_once() -> Iterator[None]:
    """A block that makes many objects that stay: garbage is collected at its end only, and what is left is frozen."""
    was_enabled = gc.isenabled()
    gc.freeze()  # what was imported before stays as well
    gc.disable()
    try:
        yield
    finally:
        freeze()
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def not_collected() -> Iterator[None]:
    """A block that makes many objects, none of them garbage: each collection would look at all that there are yet.

    Of blocks in several threads, the first to begin turns collections on again as it ends.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
