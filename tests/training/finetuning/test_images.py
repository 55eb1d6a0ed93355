"""training.finetuning.images: folders, idx files and CSV files become labelled digits, or say what is missing."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.finetuning.pictures import drawn, write_folders
from training.finetuning.images import DIGITS, read_images, split
from training.finetuning.series import UnusableData


def idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return head + values.astype(np.uint8).tobytes()


def test_folders_are_labels(tmp_path: Path) -> None:
    images = read_images(write_folders(tmp_path, 80))
    assert images.names == DIGITS
    assert images.are_digits
    assert len(images.digits) == 80
    assert images.digits.images.max() > 200, "ink is bright, as MNIST has it"


def test_other_labels(tmp_path: Path) -> None:
    images = read_images(write_folders(tmp_path, 120, {0: "apple", 1: "pear", 7: "kiwi"}))
    assert images.names == ("apple", "kiwi", "pear")
    assert not images.are_digits
    assert set(images.digits.labels) == {0, 1, 2}


def test_some_digits_keep_their_places(tmp_path: Path) -> None:
    images = read_images(write_folders(tmp_path, 120, {3: "3", 8: "8"}))
    assert images.names == DIGITS
    assert set(images.digits.labels) == {3, 8}


@pytest.mark.parametrize(
    "names",
    [
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
        ["Cero", "Uno", "Dos", "Tres", "Cuatro", "Cinco", "Seis", "Siete", "Ocho", "Nueve"],
        [f"{digit:02d}" for digit in range(10)],
        [f"digit_{digit}" for digit in range(10)],
    ],
)
def test_digits_in_other_writings_are_digits(tmp_path: Path, names: list[str]) -> None:
    images = read_images(write_folders(tmp_path, 80, dict(enumerate(names))))
    assert images.are_digits
    _, labels = drawn(80)
    assert np.bincount(images.digits.labels).tolist() == np.bincount(labels).tolist()
    assert any("read as digits" in note for note in images.notes)


def test_folders_of_parts_and_a_lone_folder_are_no_labels(tmp_path: Path) -> None:
    write_folders(tmp_path / "data" / "train", 80)
    (tmp_path / "data" / "test").mkdir()
    shutil.move(tmp_path / "data" / "train" / "4", tmp_path / "data" / "test" / "4")
    images = read_images(tmp_path)
    assert images.are_digits
    assert len(images.digits) == 80


def test_a_folder_with_a_csv_beside_the_images(tmp_path: Path) -> None:
    write_folders(tmp_path / "images", 80)
    files = sorted((tmp_path / "images").rglob("*.png"))
    (tmp_path / "flat").mkdir()
    rows = ["file,label"]
    for number, file in enumerate(files):
        Image.open(file).save(tmp_path / "flat" / f"{number}.gif")
        rows.append(f"{number}.gif,{file.parent.name}")
    (tmp_path / "flat" / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    assert len(read_images(tmp_path / "flat").digits) == 80


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_with_their_labels(tmp_path: Path, packed: bool) -> None:
    pictures, labels = drawn(80)
    for name, values in (("images-idx3", pictures), ("labels-idx1", labels)):
        data = gzip.compress(idx(values)) if packed else idx(values)
        (tmp_path / f"train-{name}-ubyte{'.gz' if packed else ''}").write_bytes(data)
    images = read_images(tmp_path)
    assert np.array_equal(images.digits.images, pictures)
    assert np.array_equal(images.digits.labels, labels)


def test_a_csv_of_paths(tmp_path: Path) -> None:
    write_folders(tmp_path / "pictures", 80)
    files = sorted((tmp_path / "pictures").rglob("*.png"))
    rows = [f"{i},{file.relative_to(tmp_path)},{file.parent.name}" for i, file in enumerate(files)]
    (tmp_path / "labels.csv").write_text("\n".join(["row,file,digit", *rows]), encoding="utf-8")
    images = read_images(tmp_path / "labels.csv")
    assert sorted(images.digits.labels.tolist()) == sorted(int(file.parent.name) for file in files)


def test_a_csv_of_pixels(tmp_path: Path) -> None:
    pictures, labels = drawn(80)
    header = ",".join(["label", *(f"pixel{i}" for i in range(784))])
    rows = [",".join(map(str, [label, *image.flatten()])) for image, label in zip(pictures, labels, strict=True)]
    (tmp_path / "train.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    assert np.array_equal(read_images(tmp_path / "train.csv").digits.images, pictures)


def test_equal_and_unreadable_images_are_noted(tmp_path: Path) -> None:
    write_folders(tmp_path, 80)
    first = next((tmp_path / "4").glob("*.png"))
    (tmp_path / "4" / "copy.png").write_bytes(first.read_bytes())
    (tmp_path / "4" / "broken.png").write_bytes(b"no picture")
    images = read_images(tmp_path)
    assert len(images.digits) == 80
    assert any("more than once" in note for note in images.notes)
    assert any("broken.png" in note for note in images.notes)


def test_what_is_missing_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="does not exist"):
        read_images(tmp_path / "nothing")
    with pytest.raises(UnusableData, match="no folders named by label"):
        read_images(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UnusableData, match="neither a folder"):
        read_images(tmp_path / "a.txt")
    (tmp_path / "b.csv").write_text("file,label\nnowhere.png,3\n")
    with pytest.raises(UnusableData, match="no column holds paths"):
        read_images(tmp_path / "b.csv")


def test_too_few_images_or_labels_and_too_many_labels(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match=r"a label needs 6 .* has 2"):
        read_images(write_folders(tmp_path / "few", 20))
    with pytest.raises(UnusableData, match="nothing to tell apart"):
        read_images(write_folders(tmp_path / "one", 80, {3: "3"}))
    write_folders(tmp_path / "many", 80)
    for number, file in enumerate(sorted((tmp_path / "many" / "0").glob("*.png"))[:1]):
        (tmp_path / "many" / f"other {number}").mkdir()
        (tmp_path / "many" / f"other {number}" / "x.png").write_bytes(file.read_bytes() + b"")
    (tmp_path / "many" / "0" / file.name).unlink()
    with pytest.raises(UnusableData, match="other 0 has 1"):
        read_images(tmp_path / "many")
    pixels = np.random.default_rng(0).integers(0, 256, (101, 784))
    rows = [",".join(map(str, [f"sign{number}", *image])) for number, image in enumerate(pixels)]
    (tmp_path / "signs.csv").write_text("\n".join(["label," + ",".join(f"p{i}" for i in range(784)), *rows]))
    with pytest.raises(UnusableData, match="101 labels"):
        read_images(tmp_path / "signs.csv")


def test_idx_without_labels_is_named(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(drawn(3)[0]))
    with pytest.raises(UnusableData, match="train-labels-idx1-ubyte is missing"):
        read_images(tmp_path)


def test_parts_have_every_label_and_no_image_twice(tmp_path: Path) -> None:
    images = read_images(write_folders(tmp_path, 100))
    parts = split(images, 0)
    assert sum(map(len, parts)) == 100
    assert all(set(part.labels) == set(range(10)) for part in parts)
    seen = [image.tobytes() for part in parts for image in part.images]
    assert len(set(seen)) == 100
