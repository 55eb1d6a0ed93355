"""`manifest.json`: the contract of one model version, written by training and read by the service.

The schema is closed (an unknown field is an error), so that a typing mistake in a manifest never becomes a default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.contract.errors import BrokenModel
from service.contract.files import MAX_MANIFEST_BYTES, MAX_MODEL_BYTES, read_file, read_verified
from service.contract.model_signatures import TrustedKeys

MODEL_FILE = "model.pt"
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"
RECORD_FILE = "training.json"

MAX_FAULTS = 10  # of a manifest that are named
MAX_FAULT_CHARACTERS = 200  # of the place of each, and of what is wrong
DIGIT_FEATURES = 28  # pixels of a row
DIGIT_CLASSES = 10
MAX_CLASSES = 100

Task = Literal["forecast", "classify-digit"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputContract(_Part):
    """What a request may carry."""

    features: int = Field(ge=1, description="numbers per observation: 1 for a series, 28 for a row of a digit")
    min_length: int = Field(ge=1, description="fewest observations of a fresh request")
    max_length: int | None = Field(ge=1, description="most observations of a request; null: only the service limits it")
    context: int | None = Field(
        default=None, ge=1, description="observations the model can use: a longer fresh series is cut to its last part"
    )
    missing: bool = Field(description="whether observations may be missing (null)")
    season: bool = Field(default=False, description="whether season_length has an effect")
    seasons: int = Field(default=1, ge=1, le=2, description="how many season lengths may be stated together")
    max_season: int | None = Field(default=None, ge=1, description="longest season that can be used; null: not known")
    optional_floor: bool = Field(default=False, description="whether a caller may say that zero is no lower bound")
    max_horizon: int | None = Field(default=None, ge=1, description="most steps ahead; null for digit readers")


class OutputContract(_Part):
    """What an answer carries."""

    quantile_levels: tuple[float, ...] = Field(default=(), description="levels predicted directly; others interpolated")
    classes: int | None = Field(default=None, description="number of classes of a digit reader; null: 10")
    labels: tuple[str, ...] = Field(default=(), description="names of the classes where they are not digits, in order")
    unlikely_below: float | None = Field(
        default=None, ge=0, le=1, description="a whole digit with a score below this is probably none; null: not known"
    )


class StateContract(_Part):
    """The state between two calls of `step`: float64 columns, all but the first `exact` hold float32 values."""

    width: int = Field(ge=1)
    exact: int = Field(ge=0)

    @model_validator(mode="after")
    def _exact_columns_are_columns(self) -> Self:
        if self.exact > self.width:
            raise ValueError(f"exact is {self.exact}, more columns than the state has (width: {self.width})")
        return self


class Golden(_Part):
    """The golden sample and how closely a load must reproduce it: |result - recorded| <= atol + rtol * |recorded|."""

    sha256: Sha256
    rtol: float = Field(gt=0)
    atol: float = Field(gt=0)


class Provenance(_Part):
    """Where the checkpoint came from."""

    command: str
    commit: str = Field(description="commit of the training code; a suffix '+' says it had uncommitted changes")
    seed: int
    data: dict[str, str] = Field(description="data set -> sha256 of its content; generators: 'generated'")
    torch: str
    device: str
    created: str = Field(description="UTC, ISO 8601")
    seconds: float = Field(ge=0, description="wall clock of the training run")
    parameters: int = Field(ge=0, description="trainable parameters")


class Manifest(_Part):
    """See the docstring of this module; `docs/models.md` describes the TorchScript module with that contract."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    version: int = Field(ge=1)
    task: Task
    description: str
    sha256: Sha256 = Field(description="of the bytes of model.pt")
    input: InputContract
    output: OutputContract
    state: StateContract
    golden: Golden
    training: Provenance
    metrics: dict[str, float] = Field(description="measured on the exported file, on data it was not trained on")

    @model_validator(mode="after")
    def _contracts_are_those_of_the_task(self) -> Self:
        """What the service sends and expects is fixed for each task; a manifest cannot say otherwise."""
        forecasts = self.task == "forecast"
        features, levels = (1 if forecasts else DIGIT_FEATURES), self.output.quantile_levels
        if self.input.features != features:
            raise ValueError(f"input.features is {self.input.features}; models of task {self.task!r} read {features}")
        if forecasts and (self.output.classes is not None or self.output.labels):
            raise ValueError(f"output.classes and output.labels are not those of task {self.task!r}")
        if not 2 <= self.classes <= MAX_CLASSES:
            raise ValueError(f"output.classes is {self.classes}; of task {self.task!r} it is 2 to {MAX_CLASSES}")
        labels = self.output.labels
        if self.classes != DIGIT_CLASSES and not labels:
            raise ValueError(f"output.labels must name the {self.classes} classes, which are not the ten digits")
        if labels and (len(labels) != self.classes or len(set(labels)) != len(labels)):
            raise ValueError(f"output.labels must be {self.classes} different names; it has {len(set(labels))}")
        if not all(0 < level < 1 for level in levels) or list(levels) != sorted(set(levels)):
            raise ValueError("output.quantile_levels must ascend, each between 0 and 1")
        if self.input.max_length is not None and self.input.max_length < self.input.min_length:
            raise ValueError("input.max_length is less than input.min_length")
        return self

    @property
    def classes(self) -> int:
        """How many classes a digit reader tells apart."""
        return DIGIT_CLASSES if self.output.classes is None else self.output.classes

    @property
    def digest(self) -> str:
        """The digest as answers and headers show it."""
        return f"sha256:{self.sha256}"

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`, readable for people."""
        text = self.model_dump_json(indent=2)
        (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path, trusted: TrustedKeys | None = None) -> Manifest:
    """Read and validate `folder/manifest.json`; with `trusted`, one of these keys must have signed it.

    Raises `BrokenModel` when it cannot be read, is not signed or is not valid.
    """
    path = folder / MANIFEST_FILE
    data = read_file(path, MAX_MANIFEST_BYTES)
    if trusted is not None:
        trusted.check(folder, data)
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        faults = [
            f"{_place(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')[:MAX_FAULT_CHARACTERS]}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise BrokenModel(f"{path} is not a valid manifest: {'; '.join(faults[:MAX_FAULTS])}") from error


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))[:MAX_FAULT_CHARACTERS] or "manifest"


def verify_files(folder: Path) -> None:
    """Raises `BrokenModel` unless the files in `folder` are those that its manifest describes."""
    manifest = read_manifest(folder)
    read_verified(folder / MODEL_FILE, MAX_MODEL_BYTES, manifest.sha256)
    read_verified(folder / GOLDEN_FILE, MAX_MODEL_BYTES, manifest.golden.sha256)
