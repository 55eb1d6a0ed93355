"""Folders of labelled pictures as people have them: digits drawn by the project, as PNG, dark on bright."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from training.data import drawn_digits
from training.data.arrays import Images, Labels


def drawn(count: int, seed: int = 77) -> tuple[Images, Labels]:
    """`count` drawn digits and their labels."""
    return drawn_digits.digit_images(count, seed)


def write_folders(folder: Path, count: int, names: Mapping[int, str] | None = None) -> Path:
    """A folder for every label with its pictures; `names` are the labels of those digits that are written."""
    for number, (image, label) in enumerate(zip(*drawn(count), strict=True)):
        name = str(label) if names is None else names.get(int(label))
        if name is not None:
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - image).resize((56, 56)).save(folder / name / f"{number}.png")
    return folder
