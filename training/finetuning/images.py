"""Labelled images that people have: folders named by label, idx files, a CSV of paths or of pixels.

An image is prepared as the service prepares it, to 28 rows as MNIST has them. Equal images count once.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.contract.errors import InvalidRequest
from service.imaging.decode import decode
from service.imaging.hypotheses import hypotheses
from service.imaging.mnist import SIDE
from training.data.arrays import Images
from training.data.mnist import DamagedData, Digits, parse_idx
from training.finetuning.series import UnusableData

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
MAX_PIXELS = 64_000_000
CLASSES = 10
MAX_CLASSES = 100  # of the contract that digit readers are served by
FEWEST = 6  # images of a label: some to learn from, one at least to choose, one at least to score
SHARES = (0.15, 0.2)  # of the images of a label, that choose and that score
DIGITS = tuple(str(digit) for digit in range(CLASSES))
PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "eval", "dev"}  # folders of no label
WORDS = (  # digits as people write them: English, Spanish, German
    "zero one two three four five six seven eight nine",
    "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "null eins zwei drei vier fünf sechs sieben acht neun",
)


@dataclass(frozen=True)
class LabelledImages:
    """Images by label: `digits.labels` index `names`; what was noticed when they were read."""

    digits: Digits
    names: tuple[str, ...]
    digest: str  # SHA-256 of the images as they were read, and of their labels
    notes: list[str]

    @property
    def are_digits(self) -> bool:
        """Whether every label is one of the ten digits."""
        return self.names == DIGITS


@dataclass(frozen=True)
class _Entry:
    """One image in its label's words, by its rows or by its file."""

    label: str
    source: str
    rows: Images | None
    file: Path | None = None


def read_images(path: Path) -> LabelledImages:
    """All labelled images in a folder or file; raises `UnusableData` with what is missing."""
    if not path.exists():
        raise UnusableData(f"{path} does not exist")
    entries = list(_entries(path))
    notes: list[str] = []
    distinct: dict[bytes, tuple[str, Images]] = {}
    unreadable: list[str] = []
    for entry in entries:
        rows = entry.rows
        if rows is None:
            try:
                rows = _prepared(entry.file)
            except (InvalidRequest, OSError) as error:
                unreadable.append(f"{entry.source} ({getattr(error, 'detail', error)})")
                continue
        distinct.setdefault(rows.tobytes(), (entry.label, rows))
    if unreadable:
        notes.append(f"{len(unreadable)} images could not be read: {'; '.join(unreadable[:3])}")
    twice = len(entries) - len(unreadable) - len(distinct)
    if twice:
        notes.append(f"{twice} images were there more than once")
    if not distinct:
        raise UnusableData(f"{path} has no image that can be read" + (f": {unreadable[0]}" if unreadable else ""))
    return _labelled(list(distinct.values()), notes)


def _labelled(entries: list[tuple[str, Images]], notes: list[str]) -> LabelledImages:
    spellings = {label: _digit(label) for label, _ in entries}
    if all(digit is not None for digit in spellings.values()):
        entries = [(spellings[label] or label, rows) for label, rows in entries]
        renamed = sorted(label for label, digit in spellings.items() if label != digit)
        if renamed:
            notes.append(
                f"labels were read as digits: {', '.join(f'{label} as {spellings[label]}' for label in renamed)}"
            )
    counts = Counter(label for label, _ in entries)
    names = DIGITS if counts.keys() <= set(DIGITS) else tuple(sorted(counts))
    if len(names) > MAX_CLASSES:
        raise UnusableData(f"{len(names)} labels: the service answers with up to {MAX_CLASSES} classes")
    if len(counts) < 2:
        raise UnusableData(f"every image has the label {next(iter(counts))}: there is nothing to tell apart")
    rare = [f"{label} has {count}" for label, count in sorted(counts.items()) if count < FEWEST]
    if rare:
        raise UnusableData(f"a label needs {FEWEST} different images or more: {', '.join(rare[:5])}")
    images = np.stack([rows for _, rows in entries])
    labels = np.array([names.index(label) for label, _ in entries], np.int64)
    digest = hashlib.sha256(images.tobytes() + repr([names[label] for label in labels]).encode()).hexdigest()
    return LabelledImages(Digits(images, labels), names, digest, notes)


def _digit(label: str) -> str | None:
    """The digit that a label stands for: 7, 07, digit_7, seven, siete; None for other labels."""
    text = re.sub(
        r"^(digits?|class|label|number|num|cifra|clase|ziffer|n|d)?[\s_-]*0*(?=\d$)", "", label.strip().lower()
    )
    if text in DIGITS:
        return text
    return next((str(words.split().index(text)) for words in WORDS if text in words.split()), None)


def split(images: LabelledImages, seed: int) -> tuple[Digits, Digits, Digits]:
    """Digits to learn from, that choose, and that score: shares of the images of every label, drawn by `seed`."""
    rng = np.random.default_rng(seed)
    parts: list[list[int]] = [[], [], []]
    for label in np.unique(images.digits.labels):
        members = rng.permutation(np.flatnonzero(images.digits.labels == label))
        choosing, scoring = (max(1, round(share * len(members))) for share in SHARES)
        parts[1] += members[:choosing].tolist()
        parts[2] += members[choosing : choosing + scoring].tolist()
        parts[0] += members[choosing + scoring :].tolist()
    learning, choosing_part, scoring_part = (
        Digits(images.digits.images[sorted(part)], images.digits.labels[sorted(part)]) for part in parts
    )
    return learning, choosing_part, scoring_part


def _entries(path: Path) -> Iterator[_Entry]:
    if path.is_file():
        if path.suffix.lower() == ".csv":
            return _in_csv(path)
        if "idx" in path.name:
            return _in_idx(path)
        raise UnusableData(f"{path} is neither a folder, nor a CSV of paths and labels, nor an idx file")
    idx_files = sorted(file for file in path.iterdir() if _is_idx_of_images(file))
    if idx_files:
        return (entry for file in idx_files for entry in _in_idx(file))
    tables = sorted(path.glob("*.csv"))
    labelled = _labelled_folders(path)
    if len(tables) == 1 and not any(map(_has_images, labelled)):
        return _in_csv(tables[0])
    if not labelled:
        raise UnusableData(
            f"{path} has no folders named by label (0, 1, 2 …) with images in them, no idx files, and no CSV of paths "
            "and labels"
        )
    return _in_folders(labelled)


def _labelled_folders(path: Path) -> list[Path]:
    """The folders named by label: those in `path`, or in its folders `train` and `test`, or in the only one there."""
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and folder.name[0] not in "._"]
    is_outer = len(folders) == 1 or (folders and all(folder.name.lower() in PARTS for folder in folders))
    if is_outer and not any(_has_images(folder) for folder in folders):
        return [inner for folder in folders for inner in _labelled_folders(folder)]
    return folders


def _has_images(folder: Path) -> bool:
    return any(file.suffix.lower() in SUFFIXES for file in folder.iterdir() if file.is_file())


def _in_folders(folders: list[Path]) -> Iterator[_Entry]:
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in SUFFIXES:
                yield _Entry(folder.name, f"{folder.name}/{file.name}", None, file)


def _is_idx_of_images(file: Path) -> bool:
    return file.is_file() and "images" in file.name and "idx3" in file.name


def _in_idx(file: Path) -> Iterator[_Entry]:
    """The images of an idx file (`train-images-idx3-ubyte`), labelled by the one next to it (`…-labels-idx1-ubyte`)."""
    labels_file = file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))
    if not labels_file.is_file():
        raise UnusableData(f"{file.name} has no file of labels beside it: {labels_file.name} is missing")
    try:
        images, labels = (parse_idx(part.name, _unpacked(part)) for part in (file, labels_file))
    except (DamagedData, IndexError, ValueError, OSError, EOFError) as error:
        raise UnusableData(f"{file} or its labels are no idx files of bytes: {error}") from error
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or len(images) != len(labels):
        raise UnusableData(f"{file}: {images.shape} images and {len(labels)} labels; images are {SIDE} by {SIDE}")
    for number, (rows, label) in enumerate(zip(images, labels, strict=True)):
        yield _Entry(str(int(label)), f"{file.name} {number}", rows)


def _unpacked(file: Path) -> bytes:
    data = file.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def _in_csv(file: Path) -> Iterator[_Entry]:
    """Rows of a path and a label, in columns found by what is in them; or of a label and 784 pixels."""
    with file.open(newline="", encoding="utf-8-sig") as opened:
        rows = [row for row in csv.reader(opened) if row]
    if len(rows) < 2:
        raise UnusableData(f"{file} has no rows")
    if len(rows[-1]) == SIDE * SIDE + 1:
        return _of_pixels(file, rows)
    last = rows[-1]
    paths = [column for column, cell in enumerate(last) if (file.parent / cell).is_file()]
    if not paths or len(last) < 2:
        raise UnusableData(f"{file}: no column holds paths of images, relative to the folder of the file")
    header = [cell.strip().lower() for cell in rows[0]]
    named = [column for column, cell in enumerate(header) if cell in ("label", "class", "digit", "target", "y")]
    label_columns = [column for column in range(len(last)) if column != paths[0]]
    label = named[0] if named else label_columns[0]
    body = rows if (file.parent / rows[0][paths[0]]).is_file() else rows[1:]
    return (
        _Entry(row[label].strip(), row[paths[0]], None, file.parent / row[paths[0]])
        for row in body
        if len(row) == len(last)
    )


def _of_pixels(file: Path, rows: list[list[str]]) -> Iterator[_Entry]:
    for line, row in enumerate(rows, start=1):
        if line == 1 and not row[1].strip().isdigit():
            continue
        try:
            pixels = np.array(row[1:], np.float64)
        except ValueError as error:
            raise UnusableData(f"{file}, line {line}: a pixel is no number") from error
        yield _Entry(row[0].strip(), f"line {line}", pixels.clip(0, 255).astype(np.uint8).reshape(SIDE, SIDE))


def _prepared(file: Path | None) -> Images:
    """The rows (28, 28) of an image file, 0..255, as the service sees them."""
    if file is None:
        raise OSError("no file")
    readings, refusal = hypotheses(decode(file.read_bytes(), MAX_PIXELS))
    if refusal is not None:
        raise refusal
    return np.round(readings[0].rows * 255).astype(np.uint8)
