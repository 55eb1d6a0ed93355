"""Digits from other sources and images that are no digits, as pictures through the service's own preparation.

Sources: `benchmarks.digits.handwriting` (mouse, pen, marker), fonts held out of training (Computer Modern, which comes
with matplotlib, and the Debian packages below where `apt-get download` brings them), scikit-learn's `load_digits`
enlarged from 8 x 8, and MNIST's digits enlarged. Each in every scene of `benchmarks.digits.scenes`.
"""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import numpy as np

from benchmarks.digits import handwriting
from benchmarks.digits.handwriting import Drawing
from benchmarks.digits.preparation import prepare
from benchmarks.digits.readers import Planes
from benchmarks.digits.scenes import SCENES, Scene
from benchmarks.serving import environments
from service.contract.errors import InvalidRequest
from training.data import mnist
from training.data.typeset_digits import HELD_OUT_FONTS

BUILD = environments.BUILD / "digits"
PIXELS = 25_000_000
# Text faces and handwriting; femkeklaver and the like, with outlined letters, are left out.
PACKAGES = (
    "fonts-comic-neue", "fonts-dkg-handwriting", "fonts-breip", "fonts-courier-prime", "fonts-humor-sans",
    "fonts-junction", "fonts-liberation", "fonts-freefont-ttf", "fonts-lato", "fonts-lobstertwo", "fonts-inconsolata",
    "fonts-rufscript", "fonts-roboto-unhinted",
)  # fmt: skip
_LOAD_DIGITS = (
    "import sys, numpy as np; from sklearn.datasets import load_digits; d = load_digits(); "
    "np.savez_compressed(sys.argv[1], images=(d.images / 16).astype('float32'), labels=d.target)"
)


@dataclass(eq=False)
class Prepared:
    """The pictures of one source in one scene, prepared or refused."""

    rows: list[Planes] = field(default_factory=list)  # those that were not refused
    labels: list[int] = field(default_factory=list)  # of these
    refused: int = 0

    @property
    def count(self) -> int:
        """Pictures in all."""
        return len(self.rows) + self.refused


def sources(validation: mnist.Digits, count: int) -> dict[str, list[Drawing]]:
    """The drawings by source: `count` of each hand, all of the fonts and scans, 1,000 of MNIST's."""
    by_source = {
        tool: handwriting.drawings(count, tool, seed) for seed, tool in enumerate(("mouse", "pen", "marker"), 1)
    }
    by_source["fonts"] = handwriting.fonts([*_held_out(), *debian_fonts()])
    by_source["load_digits"] = _load_digits()
    small = zip(validation.images[:1000], validation.labels[:1000].tolist(), strict=True)
    by_source["mnist"] = [handwriting.enlarged(image / np.float32(255), label, "mnist") for image, label in small]
    return by_source


def prepared(
    drawings: Sequence[Drawing], source: str, scene: str, count: int, scenes: Mapping[str, Scene] = SCENES
) -> Prepared:
    """At most `count` of the drawings in a scene, through `service.imaging`; the same ones on every call."""
    generator = np.random.default_rng(zlib.crc32(f"{source}/{scene}".encode()))
    result = Prepared()
    for index in generator.permutation(len(drawings))[:count].tolist():
        drawing = drawings[index]
        try:
            rows, _ = prepare(scenes[scene](drawing.ink, generator), PIXELS)
        except InvalidRequest:
            result.refused += 1
            continue
        result.rows.append(rows)
        result.labels.append(drawing.label)
    return result


def debian_fonts() -> list[Path]:
    """Folders with the fonts of `PACKAGES`, unpacked under build/; empty where there is no apt-get, with a word."""
    folder = BUILD / "fonts"
    if not (folder / "x").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "--quiet=2", *PACKAGES], cwd=folder, check=True, capture_output=True)
            for package in sorted(folder.glob("*.deb")):
                subprocess.run(["dpkg", "--extract", package.name, "x"], cwd=folder, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"without the Debian fonts: {error}", flush=True)
            return []
    return [folder / "x"]


def _held_out() -> Iterator[Path]:
    """A folder of links to matplotlib's fonts that are held out of training."""
    links = BUILD / "held-out"
    links.mkdir(parents=True, exist_ok=True)
    for name in HELD_OUT_FONTS:
        font = Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
        if font.is_file() and not (links / font.name).exists():
            (links / font.name).symlink_to(font)
    yield links


def _load_digits() -> list[Drawing]:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, which its own environment writes to a file once."""
    file = BUILD / "load_digits.npz"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        interpreter = environments.python("digits")
        subprocess.run([str(interpreter), "-c", _LOAD_DIGITS, str(file)], check=True)
    with np.load(file) as data:
        pairs = zip(data["images"], data["labels"].tolist(), strict=True)
        return [handwriting.enlarged(image, label, "load_digits") for image, label in pairs]
