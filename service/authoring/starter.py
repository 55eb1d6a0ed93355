"""`ritmo model new`: a folder with one program that trains, exports and says how to serve a small recurrent network."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Literal

Kind = Literal["forecast", "digits"]

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
PROGRAM = "model.py"


def write_starter(name: str, kind: Kind, parent: Path) -> Path:
    """Write `parent/name/model.py` and return its path; nothing that exists is overwritten.

    Raises `ValueError` for what cannot be the name of a model, and `OSError` where the folder cannot be written.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a model: lower-case letters, digits and hyphens, 64 at most")
    text = (resources.files("service.authoring") / "templates" / f"{kind}.txt").read_text(encoding="utf-8")
    folder = parent / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PROGRAM
    with path.open("x", encoding="utf-8") as file:
        file.write(text.replace("__NAME__", name))
    return path
