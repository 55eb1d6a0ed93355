"""`python -m benchmarks.digits`: our digit reader, the tutorials' and a user's usual choice, side by side.

Writes benchmarks/results/digits.csv (every figure), digits.md (tables) and digits.png (plots); the digits that were
read wrong go to build/bench/digits/errors-<reader>.png, which is never committed: they are MNIST's. By default clean
digits are those of the validation split; the test split is for the score of a finished checkpoint. Damaged digits are
always validation digits. `--times` measures the times alone, a minute that wants a quiet machine, and keeps all other
rows of the run before it.
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
from benchmarks.digits import elsewhere, figures, hands, measure, report
from benchmarks.digits.readers import Peer, Reader, Served
from benchmarks.digits.rows import Row, Rows, read
from training.data import mnist
from training.evaluation import evaluate

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
BUILD = elsewhere.BUILD
MODELS = ("digits", "digits-rnn-16-8-4", "digits-rnn-10")
TIMED = ("time", "size")  # sections
QUICK = 200  # digits of each kind in a quick run


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    command = ("python -m benchmarks.digits " + shlex.join(sys.argv[1:])).strip()
    shared: dict[str, Any] = {**table.circumstances(command)}
    results = options.output or (BUILD / "quick" if options.quick else RESULTS)
    found = Rows(row for row in read(results / "digits.csv") if row.section not in TIMED) if options.times else Rows()
    for row in _times(options) if options.times else chain(_all(options), _times(options)):
        print(f"{row.reader:<22} {row.section:<12} {row.case:<28} {row.value:.5g}", flush=True)
        found.append(replace(row, **shared))
    table.write(results / "digits.csv", Row, found, digits=6)
    figures.draw(found, results / "digits.png")
    report.write(found, results / "digits.md", "digits.png")
    print(f"\n{(results / 'digits.md').read_text()}")


def _all(options: argparse.Namespace) -> Iterator[Row]:
    data = mnist.load()
    clean = {"validation": data.validation, "test": data.test}[options.split]
    hurt = data.validation
    if options.quick:
        clean, hurt = (mnist.Digits(some.images[:QUICK], some.labels[:QUICK]) for some in (clean, hurt))
    drawings = elsewhere.sources(data.validation, QUICK if options.quick else 500)
    drawn = measure.pictures(drawings, *((20, 4) if options.quick else (500, options.pictures)))
    others = measure.no_digits(40 if options.quick else 800)
    for reader in _readers(options):
        yield from measure.of_mnist(reader, clean, options.split)
        yield from measure.of_damage(reader, hurt, "validation")
        yield from measure.of_pictures(reader, drawn)
        yield from measure.of_no_digits(reader, others)
        sheet = BUILD / f"errors-{reader.name}-{options.split}.png"
        wrong = figures.sheet(clean, reader.trace(clean.rows())[:, -1], sheet)
        print(f"{reader.name}: {wrong} wrong, see {sheet}", file=sys.stderr)


def _times(options: argparse.Namespace) -> Iterator[Row]:
    validation = mnist.load().validation
    for reader in _readers(options):
        yield from measure.of_time(reader, validation, options.seconds)
    yield from measure.of_preparation(hands.drawings(8, "pen", 2)[7].ink, options.seconds)


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
    parser.add_argument("--times", action="store_true", help="the times only; all else stays as it was measured")
    parser.add_argument("--without-peer", dest="peer", action="store_false", help="leave the convolutional network out")
    parser.add_argument("--quick", action="store_true", help="a few digits of each kind: does everything work?")
    parser.add_argument("--output", type=Path, help="folder for the results [benchmarks/results]")
    return parser.parse_args()


if __name__ == "__main__":
    main()
