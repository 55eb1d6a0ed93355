"""What a table may be asked for, what was understood of it, and its series."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from service.codec.common import ModelReference, Timeout
from service.codec.forecast_types import DEFAULT_MODEL, ForecastAnswer, ForecastParameters, SeriesInput
from service.codec.strict_json import FieldErrors
from service.codec.timeline import Timeline
from service.contract.errors import InvalidRequest

ColumnName = Annotated[str, Meta(max_length=1000)]
DateOrder = Literal["dmy", "mdy", "ymd"]
Layout = Literal["long", "wide", "list"]
MAX_CELL = 40  # characters of a cell that an error shows


class TableOptions(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """The query with a table: what to answer, and how to read it where looking is not enough."""

    model: ModelReference = DEFAULT_MODEL
    prediction_length: Annotated[int, Meta(ge=1, le=1_000_000, description="steps ahead")] = 1
    quantile_levels: Annotated[str, Meta(max_length=2000, description="such as 0.1,0.5,0.9")] | None = None
    season_length: Annotated[int, Meta(ge=1, le=1_000_000, description="observations per season")] | None = None
    timeout_ms: Timeout | None = None
    freq: Annotated[str, Meta(max_length=32, description="step between values, a name of pandas")] | None = None
    id: Annotated[ColumnName, Meta(description="column that says which series a row belongs to")] | None = None
    time: Annotated[ColumnName, Meta(description="column of times; '' says that there is none")] | None = None
    value: Annotated[ColumnName, Meta(description="column of values; commas between several")] | None = None
    delimiter: Annotated[str, Meta(max_length=16, description="a character, or tab, comma, semicolon …")] | None = None
    decimal: Annotated[Literal[".", ","], Meta(description="the decimal mark")] | None = None
    encoding: Annotated[str, Meta(max_length=32, description="of the text, such as windows-1251")] | None = None
    header: Annotated[bool, Meta(description="whether the first row has names")] | None = None
    date_order: Annotated[DateOrder, Meta(description="of dates such as 03/04/2024")] | None = None
    missing: Annotated[str, Meta(max_length=200, description="further words or numbers for missing values")] | None = (
        None
    )
    include: Annotated[Literal["series"], Meta(description="also answer the series that were read")] | None = None


class TableReading(Struct, frozen=True, omit_defaults=True):
    """What was understood of a table; `notes` say where it could be read otherwise, and what was left out."""

    format: str
    layout: Layout
    rows: int
    series: int
    header: bool
    value: list[str]
    encoding: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    id: list[str] = field(default_factory=list)
    time: list[str] = field(default_factory=list)
    date_order: DateOrder | None = None
    freq: str | None = None
    ignored_columns: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Table(Struct, frozen=True, eq=False):
    """The series of a table, in the order in which they first appear, with their timelines where there are times."""

    inputs: list[SeriesInput]
    timelines: list[Timeline | None]
    seasons: list[int]  # that the frequencies suggest
    parameters: ForecastParameters
    model: str
    reading: TableReading
    includes_series: bool = False
    id_columns: Sequence[int] = ()  # places of the columns that tell the series apart, from 0

    def series(self) -> list[ReadSeries]:
        """The series as an answer shows them."""
        return [
            ReadSeries(list(series.target), timeline.texts(0, len(series.target)) if timeline else None)
            for series, timeline in zip(self.inputs, self.timelines, strict=True)
        ]


class ReadSeries(Struct, frozen=True, omit_defaults=True):
    """A series as it was read: values oldest first, null where one is missing, and when they are from."""

    target: list[float | None]
    timestamps: list[str] | None = None


class TableAnswer(ForecastAnswer, frozen=True, kw_only=True):
    """The answer to a table as JSON: that of a forecast, how the table was read, and its series where asked for."""

    table: TableReading
    series: list[ReadSeries] | UnsetType = UNSET


_SEPARATORS = re.compile(r"[^\w#]+")


class Column(Struct, frozen=True, dict=True):
    """A column: its place from 0, its name, what most of its cells are, and cells of it."""

    index: int
    name: str
    kind: str
    is_counted: bool = False  # 0, 1, 2 … or 1, 2, 3 …
    sample: Sequence[str] = ()

    @functools.cached_property
    def key(self) -> str:
        """The name as usual names are written."""
        return _SEPARATORS.sub("_", self.name.strip().lower()).strip("_")

    @property
    def label(self) -> str:
        """The name, or the number where there is none."""
        return self.name or str(self.index + 1)


class Cell(Struct, frozen=True, gc=False):
    """A cell and where it stands, counted from 1: line of the file, row and column of the table."""

    text: str
    line: int
    row: int
    column: int
    name: str

    @property
    def position(self) -> str:
        """In words: `line 12, column 3 (sales), 'n.d.'`."""
        name = f" ({printable(self.name)})" if self.name else ""
        return f"line {self.line}, column {self.column}{name}, '{printable(self.text)}'"

    @property
    def pointer(self) -> str:
        """As RFC 7111 writes it."""
        return f"#cell={self.row},{self.column}"


class TableErrors(FieldErrors):
    """The errors of a table: each names its cell, in words and by RFC 7111."""

    def at_cell(self, cell: Cell, detail: str, code: str = "bad_table") -> None:
        """Record what is wrong with `cell`."""
        self.add(cell.pointer, code, f"{cell.position} {detail}")

    def check(self) -> None:
        """Raise `InvalidRequest` if there is an error, worded without pointers, which cells repeat in words."""
        if self.total:
            first = self.listed[0]
            detail = first.detail if self.total == 1 else f"{self.total} faults in the table; the first: {first.detail}"
            raise InvalidRequest(detail, code=first.code, errors=self.listed, errors_total=self.total)


def printable(text: str) -> str:
    """`text` as an error may show it: cut, and with nothing that a terminal or a page would take for more than text."""
    cut = text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"
    return "".join(character if character.isprintable() else "?" for character in cut)


def bad_table(detail: str, pointer: str | None = None) -> InvalidRequest:
    """The error of a table that cannot be read as a whole."""
    errors = TableErrors()
    errors.add(pointer or "#", "bad_table", detail)
    return InvalidRequest(detail, code="bad_table", errors=errors.listed if pointer else (), errors_total=None)
