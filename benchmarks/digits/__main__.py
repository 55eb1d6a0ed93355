"""`python -m benchmarks.digits`: this project's digit readers and the usual convolutional network, compared.

Writes benchmarks/results/digits.csv (every figure), digits.md (tables) and digits.png (plots); misread digits go to
build/bench/digits/errors-<reader>.png, which is never committed: they are MNIST's. By default clean digits are those of
the validation split; the test split is for the score of a finished checkpoint. Damaged digits are always validation
digits. `--times` measures only the times, a minute on a quiet machine, and keeps all other rows of the run before it;
`--pages` writes page and plots again from the rows.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from benchmarks import table
from benchmarks.digits import handwriting, measure, picture_sets, plots, report
from benchmarks.digits.readers import Peer, Reader, Served
from benchmarks.digits.rows import Row, Rows, read
from training.data import mnist
from training.evaluation import evaluate

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
BUILD = picture_sets.BUILD
MODELS = ("digits", "digits-rnn-16-8-4", "digits-rnn-10")
TIMED = ("time", "size")  # sections
QUICK_COUNT = 200  # digits of each kind in a quick run


def main() -> None:
    options = _options()
    results = options.output or (BUILD / "quick" if options.quick else RESULTS)
    if not options.pages:
        _measure(options, results)
    rows = read(results / "digits.csv")
    plots.draw(rows, results / "digits.png")
    report.write(rows, results / "digits.md", "digits.png")
    print(f"\n{(results / 'digits.md').read_text()}")


def _measure(options: argparse.Namespace, results: Path) -> None:
    """Write all rows to `results`."""
    torch.set_num_threads(1)
    command = ("python -m benchmarks.digits " + shlex.join(sys.argv[1:])).strip()
    shared: dict[str, Any] = {**table.circumstances(command)}
    rows = Rows(row for row in read(results / "digits.csv") if row.section not in TIMED) if options.times else Rows()
    for row in _times(options) if options.times else chain(_all(options), _times(options)):
        print(f"{row.reader:<22} {row.section:<12} {row.case:<28} {row.value:.5g}", flush=True)
        rows.append(replace(row, **shared))
    table.write(results / "digits.csv", Row, rows, digits=6)


def _all(options: argparse.Namespace) -> Iterator[Row]:
    data = mnist.load()
    clean = {"validation": data.validation, "test": data.test}[options.split]
    hurt = data.validation
    if options.quick:
        clean, hurt = (mnist.Digits(d.images[:QUICK_COUNT], d.labels[:QUICK_COUNT]) for d in (clean, hurt))
    by_source = picture_sets.sources(data.validation, QUICK_COUNT if options.quick else 500)
    pictures = measure.scene_pictures(by_source, *((20, 4) if options.quick else (500, options.pictures)))
    no_digits = measure.no_digits(40 if options.quick else 800)
    for reader in _readers(options):
        yield from measure.of_mnist(reader, clean, options.split)
        yield from measure.of_damage(reader, hurt, "validation")
        yield from measure.of_pictures(reader, pictures)
        yield from measure.of_no_digits(reader, no_digits)
        sheet = BUILD / f"errors-{reader.name}-{options.split}.png"
        wrong = plots.sheet(clean, reader.trace(clean.rows())[:, -1], sheet)
        print(f"{reader.name}: {wrong} wrong, see {sheet}", file=sys.stderr)


def _times(options: argparse.Namespace) -> Iterator[Row]:
    validation = mnist.load().validation
    for reader in _readers(options):
        yield from measure.of_time(reader, validation, options.seconds)
    yield from measure.of_preparation(handwriting.drawings(8, "pen", 2)[7].ink, options.seconds)


def _readers(options: argparse.Namespace) -> Iterator[Reader]:
    for folder in evaluate.folders(options.folder, options.model):
        yield Served(folder)
    if options.peer:
        yield Peer()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digits", description=__doc__)
    parser.add_argument("--model", nargs="+", default=MODELS, metavar="NAME[@VERSION]", help=f"[{' '.join(MODELS)}]")
    parser.add_argument("--folder", type=Path, default=ROOT / "models", help="where the models are [models/]")
    parser.add_argument("--split", choices=("validation", "test"), default="validation", help="of MNIST's clean digits")
    parser.add_argument("--pictures", type=int, default=40, help="of each source in each scene [40]")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each timing [2]")
    parser.add_argument(
        "--times", action="store_true", help="the times only; all other rows stay as they were measured"
    )
    parser.add_argument("--pages", action="store_true", help="no measurement: page and plots from the rows")
    parser.add_argument("--without-peer", dest="peer", action="store_false", help="leave the convolutional network out")
    parser.add_argument("--quick", action="store_true", help="a few digits of each kind, to see that everything works")
    parser.add_argument("--output", type=Path, help="folder for the results [benchmarks/results]")
    return parser.parse_args()


if __name__ == "__main__":
    main()
