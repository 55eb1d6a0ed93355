"""MNIST: the four idx files, found or downloaded, checked by their content, and split once and for all.

Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits". Validation is the last 5,000 training
images; the 10,000 test images are for the score of a finished checkpoint and for nothing before it.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data import download as http
from training.data.arrays import Images, Labels
from training.folders import cache_folder, data_folder

VALIDATION = 5_000
CLASSES = 10

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# SHA-256 of the UNPACKED bytes: copies of the archives differ in how they were packed, not in what is inside.
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class DamagedData(ValueError):
    """A file differs from the one that every published MNIST figure refers to."""


@dataclass(frozen=True, eq=False)
class Digits:
    """N labelled digits."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self) -> NDArray[np.float32]:
        """(N, 28, 28) float32, ink 0..1: the input of a digit reader."""
        return self.images.astype(np.float32) / np.float32(255)


@dataclass(frozen=True, eq=False)
class Mnist:
    """The three splits: 55,000 / 5,000 / 10,000 digits in their original order."""

    train: Digits
    validation: Digits
    test: Digits

    @property
    def digests(self) -> dict[str, str]:
        """File name -> SHA-256 of its unpacked bytes, for the record of a run."""
        return {f"mnist/{name}": sha256 for name, sha256 in FILES.items()}


def load(folder: Path | None = None) -> Mnist:
    """Read the four files from `folder` (default: `find()`); raises `DamagedData` when one is not the original."""
    source = find() if folder is None else folder
    names = list(FILES)
    images, labels, test_images, test_labels = (parse_idx(name, _unpacked(source, name)) for name in names)
    digits = Digits(images, labels.astype(np.int64))
    cut = len(digits) - VALIDATION
    return Mnist(
        train=Digits(digits.images[:cut], digits.labels[:cut]),
        validation=Digits(digits.images[cut:], digits.labels[cut:]),
        test=Digits(test_images, test_labels.astype(np.int64)),
    )


def find() -> Path:
    """The folder with the four files: the data folder's `mnist`, else the cache, filled from a mirror when needed."""
    shared = data_folder()
    if shared is not None and all(_path(shared / "mnist", name) for name in FILES):
        return shared / "mnist"
    return download(cache_folder() / "mnist")


def download(folder: Path, mirrors: Sequence[str] = MIRRORS) -> Path:
    """Fetch what `folder` lacks of the four archives and return it; raises `ConnectionError` when no mirror has one."""
    for name in FILES:
        if _path(folder, name) is None:
            _download(name, folder, mirrors)
    return folder


def _path(folder: Path, name: str) -> Path | None:
    """The file as archive or unpacked, under either spelling of its name that is in circulation."""
    candidates = [folder / (stem + end) for stem in (name, name.replace("-idx", ".idx")) for end in (".gz", "")]
    return next((path for path in candidates if path.is_file()), None)


def _unpacked(folder: Path, name: str) -> bytes:
    path = _path(folder, name)
    if path is None:
        raise FileNotFoundError(f"{folder} has no {name}.gz")
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    _check(name, data, str(path))
    return data


def _check(name: str, data: bytes, origin: str) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if digest != FILES[name]:
        raise DamagedData(f"{origin} is not the original {name}: its unpacked bytes have SHA-256 {digest}")


def parse_idx(name: str, data: bytes) -> NDArray[Any]:
    """An idx file of bytes: two zeros, the type (8), the number of axes, each size as big-endian int32, the values."""
    axes = data[3]
    shape = np.frombuffer(data, ">i4", axes, offset=4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * axes)
    if values.size != int(np.prod(shape)):
        raise DamagedData(f"{name}: {values.size} values for shape {tuple(shape)}")
    return values.reshape(tuple(int(n) for n in shape))


def _download(name: str, folder: Path, mirrors: Sequence[str]) -> None:
    """Fetch one archive from the first mirror that has the right bytes."""
    failure: Exception | None = None
    for mirror in mirrors:
        url = f"{mirror}{name}.gz"
        try:
            archive = http.fetch(url)
            _check(name, gzip.decompress(archive), url)
        except (OSError, EOFError, zlib.error, DamagedData) as error:
            failure = error
            continue
        http.write(folder / f"{name}.gz", archive)
        return
    raise ConnectionError(f"no mirror has {name}.gz; put the four files into {folder}") from failure
