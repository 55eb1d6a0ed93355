"""`python -m training summary NAME …`, or `ritmo model summary NAME …`: the layers of exported models.

One row for each layer that holds numbers: its kind, the shapes of its arrays, and how many numbers these are, as
Keras' `model.summary()` and torch's `print(model)` show together.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.contract.manifest import MODEL_FILE, Manifest, read_manifest
from training.evaluation.evaluate import folders
from training.fit.export import reload


@dataclass(frozen=True)
class Layer:
    """A part of a network that holds numbers of its own."""

    name: str
    kind: str
    shapes: dict[str, tuple[int, ...]]
    parameters: int
    constants: int  # numbers that are no parameters: tables, temperatures, levels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training summary`."""
    parser.add_argument("models", nargs="*", help="name or name@version (default: the highest version of each name)")
    default = Path(os.environ.get("RITMO_MODELS") or "models")
    parser.add_argument("--folder", type=Path, default=default, help="folder of models (default: %(default)s)")


def main(arguments: argparse.Namespace) -> None:
    """Print a table for each model."""
    chosen = folders(arguments.folder, arguments.models)
    if not chosen:
        raise SystemExit(f"{arguments.folder} holds no model: name the folder with --folder")
    print("\n\n".join(summary(folder) for folder in chosen))


def summary(folder: Path) -> str:
    """The table of one model folder."""
    manifest = read_manifest(folder)
    return table(layers(reload((folder / MODEL_FILE).read_bytes())), manifest)


def layers(module: Any) -> list[Layer]:
    """The layers of a scripted module, in its order."""
    rows = []
    for name, part in module.named_modules():
        arrays = dict(part.named_parameters(recurse=False))
        buffers = dict(part.named_buffers(recurse=False))
        if arrays or buffers:
            shapes = {key: tuple(value.shape) for key, value in {**arrays, **buffers}.items()}
            parameters = sum(value.numel() for value in arrays.values())
            constants = sum(value.numel() for value in buffers.values())
            rows.append(Layer(name or "(itself)", part.original_name, shapes, parameters, constants))
    return rows


def table(rows: list[Layer], manifest: Manifest) -> str:
    """Layers as lines of equal columns, with the sums below."""
    cells = [("layer", "kind", "arrays", "parameters")]
    for row in rows:
        arrays = ", ".join(f"{name} {'x'.join(map(str, shape)) or '1'}" for name, shape in row.shapes.items())
        cells.append((row.name, row.kind, arrays, f"{row.parameters:,}"))
    widths = [max(len(cell[column]) for cell in cells) for column in range(3)]
    lines = [
        "  ".join([*(text.ljust(width) for text, width in zip(cell[:3], widths, strict=True)), cell[3].rjust(10)])
        for cell in cells
    ]
    total, constants = sum(row.parameters for row in rows), sum(row.constants for row in rows)
    trained = manifest.training.parameters
    return "\n".join(
        [
            f"{manifest.name}@{manifest.version} ({manifest.task}): {manifest.description}",
            *lines,
            f"{total:,} parameters, {trained:,} of them trained; {constants:,} constants; a state of "
            f"{manifest.state.width:,} numbers",
        ]
    )
