"""training.data.mnist: the original files or an error, from any of the places where they may be."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from training.data import mnist


@pytest.fixture
def original(real_data: Path) -> Path:
    return real_data / "mnist"


@pytest.mark.data
def test_the_splits_are_the_published_ones(original: Path) -> None:
    data = mnist.load(original)
    assert (len(data.train), len(data.validation), len(data.test)) == (55_000, 5_000, 10_000)
    assert data.test.images.shape == (10_000, 28, 28)
    labels = np.concatenate([data.train.labels, data.validation.labels])
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    pixels = np.concatenate([data.train.images, data.validation.images])
    assert abs(pixels.mean() / 255 - 0.1307) < 5e-5


@pytest.mark.data
def test_rows_are_ink_between_0_and_1(original: Path) -> None:
    rows = mnist.Digits(mnist.load(original).test.images[:9], np.arange(9)).rows()
    assert rows.dtype == np.float32
    assert (rows.min(), rows.max()) == (0.0, 1.0)


@pytest.mark.data
def test_files_may_be_unpacked_and_carry_the_other_spelling(original: Path, tmp_path: Path) -> None:
    for name in mnist.FILES:
        (tmp_path / name.replace("-idx", ".idx")).write_bytes(gzip.decompress((original / f"{name}.gz").read_bytes()))
    assert np.array_equal(mnist.load(tmp_path).test.labels, mnist.load(original).test.labels)


@pytest.mark.data
def test_one_other_byte_is_an_error(original: Path, tmp_path: Path) -> None:
    for name in mnist.FILES:
        shutil.copy(original / f"{name}.gz", tmp_path)
    name = "t10k-labels-idx1-ubyte"
    content = bytearray(gzip.decompress((original / f"{name}.gz").read_bytes()))
    content[-1] ^= 1
    (tmp_path / f"{name}.gz").unlink()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(mnist.DamagedData, match=name):
        mnist.load(tmp_path)


@pytest.mark.data
def test_a_download_comes_from_the_first_mirror_that_is_right(
    original: Path, mirror: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = mirror
    wrong = folder / "wrong"
    wrong.mkdir()
    for name in mnist.FILES:
        shutil.copy(original / f"{name}.gz", folder)
        (wrong / f"{name}.gz").write_bytes(gzip.compress(b"something else"))
    cache = tmp_path / "cache"
    mnist.download(cache, [f"{address}absent/", f"{address}wrong/", address])
    assert len(mnist.load(cache).test) == 10_000
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"{name}.gz" for name in mnist.FILES)


def test_what_no_mirror_has_is_an_error_and_leaves_nothing(mirror: tuple[Path, str], tmp_path: Path) -> None:
    _, address = mirror
    with pytest.raises(ConnectionError, match="train-images"):
        mnist.download(tmp_path / "cache", [address])
    assert not (tmp_path / "cache").exists()


def test_the_record_names_all_four_files() -> None:
    empty = mnist.Digits(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int64))
    digests = mnist.Mnist(empty, empty, empty).digests
    assert set(digests) == {f"mnist/{name}" for name in mnist.FILES}
