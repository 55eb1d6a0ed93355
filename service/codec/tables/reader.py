"""A table to series: rows to columns with roles, cells to numbers and times, times to grids."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from msgspec.structs import replace

from service.codec.forecast_types import ForecastParameters, SeriesInput
from service.codec.tables.clock_changes import joined_hours, second_hours
from service.codec.tables.dates import DateFormat, find_date_format, find_excel_format
from service.codec.tables.groups import Group, Placements, groups_of
from service.codec.tables.layout import MAX_COLUMNS, Roles, find_roles, is_list, too_many_columns
from service.codec.tables.numerals import (
    KELVIN,
    NumberFormat,
    counts_thousands,
    find_number_format,
    is_missing,
    numbers_in,
    unit_of,
    whole_number,
)
from service.codec.tables.rows import Row, Rows, read_rows
from service.codec.tables.shapes import is_total, reshaped
from service.codec.tables.time_columns import TIME_NAMES, step_numbers, time_reader
from service.codec.tables.types import (
    Cell,
    Column,
    Table,
    TableErrors,
    TableOptions,
    TableReading,
    bad_table,
    printable,
)
from service.codec.tables.workbook import WORKBOOK_MAGIC, read_workbook
from service.codec.timeline import SENTENCES, Fault, Moment, Placed, check_end, read_frequency, spread

_DATED = "date datetime timestamp time day fecha datum data дата 日期 datahora tijd zeitpunkt observation_date"
_STAND_INS = frozenset({-99.9, -999.0, -999.9, -999.99, -9999.0, -9999.9, -99999.0})
_MAX_STEP = 1_000_000
_FEWEST_TIMES = 3  # that say how far apart they are
_MOST_PLACES_PER_CELL, _FEW_PLACES = 4, 100_000  # of rows filled up to the widest one
_OF_NUMBERS = "+-0123456789.,eE "  # characters of numbers without a unit
_CALENDAR = dt.datetime(2000, 1, 1)  # noqa: DTZ001 (a clock without a zone)


class Limits(NamedTuple):
    """What a table may hold."""

    max_observations: int  # of one series, gaps included


class _Series:
    """One series: its values in the order of the file, until they are put on their grid, and its rows."""

    def __init__(self, name: str | None, column: Column, group: Group) -> None:
        self.name = name
        self.column = column
        self.group = group
        self.values: list[float | None] = []
        self.unit: str | None = None  # that stands next to its values


def read_csv(content: bytes, options: TableOptions, limits: Limits) -> Table:
    """The series of a CSV file, or of an Excel workbook, whatever its name says.

    Raises `InvalidRequest` with errors that name line and column and show the cell.
    """
    if content.startswith(WORKBOOK_MAGIC):
        return read_table(read_workbook(content), options, limits, "xlsx")
    return read_table(read_rows(content, options.delimiter, options.encoding), options, limits, "csv")


def read_table(rows: Rows, options: TableOptions, limits: Limits, file_format: str) -> Table:
    """The series of a table; raises `InvalidRequest`."""
    _check_shape(rows.rows)
    rows = reshaped(rows) if options.header is not False else rows
    roles = find_roles(rows.rows, options, all_values=rows.is_turned)
    if options.freq is not None:
        _checked_frequency(options.freq)
    reader = _Reader(rows, roles, options, limits)
    series = reader.list_of_numbers() if roles.layout == "list" else reader.series()
    return reader.table(series, file_format)


def _check_shape(rows: Sequence[Row]) -> None:
    """Raise `InvalidRequest` where rows are too wide, or differ so much in width that most of the table is no cell.

    Each column is looked at in each row, so that one wide row would be paid for in all others.
    """
    longest = max(rows, key=lambda row: len(row.cells))
    n_places, n_cells = len(rows) * len(longest.cells), sum(len(row.cells) for row in rows)
    if n_places > _MOST_PLACES_PER_CELL * n_cells + _FEW_PLACES:
        detail = f"line {longest.line} has {len(longest.cells)} cells, the table {n_cells / len(rows):.1f} in a row"
        raise bad_table(f"{detail}: rows have as many cells as the table has columns")
    if len(longest.cells) > MAX_COLUMNS and not is_list(rows):
        raise too_many_columns(len(longest.cells), MAX_COLUMNS)


def parameters_of(options: TableOptions) -> ForecastParameters:
    """The options of the query as those of a JSON request; raises `InvalidRequest` for levels that are none."""
    levels = [0.1, 0.5, 0.9]
    if options.quantile_levels is not None:
        try:
            levels = [float(level) for level in options.quantile_levels.split(",") if level.strip()]
        except ValueError as error:
            raise bad_table(
                "quantile_levels are numbers between 0 and 1, commas between", "#/quantile_levels"
            ) from error
        if not all(0 < level < 1 for level in levels) or len(levels) > 99:
            raise bad_table("quantile_levels are up to 99 numbers between 0 and 1", "#/quantile_levels")
    return ForecastParameters(
        prediction_length=options.prediction_length,
        quantile_levels=levels,
        season_length=options.season_length,
        timeout_ms=options.timeout_ms,
    )


class _Reader:
    """Reads the cells of one table."""

    def __init__(self, rows: Rows, roles: Roles, options: TableOptions, limits: Limits) -> None:
        self._rows = rows
        self._roles = roles
        self._options = options
        self._limits = limits
        self._errors = TableErrors()
        self._notes = [*rows.notes, *roles.notes]
        self._body = self._without_totals(rows.rows[1:] if roles.has_header else rows.rows)
        self._first = 2 if roles.has_header else 1
        self._numbers = self._number_format()
        self._dates: DateFormat | None = None
        self._ids: list[Column] = []  # that tell the series apart
        self._unused: list[Column] = []  # that could have
        self._units: dict[str, str] = {}  # a unit, and the first column that has it
        self._is_counted = False  # times are numbers of steps
        self._placements = Placements(limits.max_observations)

    def list_of_numbers(self) -> list[_Series]:
        """All numbers of a file as one series, in the order in which one reads them."""
        single = _Series(None, Column(0, "", "number"), Group([], []))
        for position, row in enumerate(self._body):
            cells = [cell for text in row.cells for cell in numbers_in(text) or [""]]
            while len(cells) > 1 and not cells[-1]:  # a comma at the end of a line
                cells.pop()
            values = self._numbers.parse_plain(cells)
            single.values += values or [
                self._number(cell, position, Column(index, "", "number")) for index, cell in enumerate(cells)
            ]
        self._errors.check()
        return [single]

    def series(self) -> list[_Series]:
        """The series of a long or wide table, in the order in which they appear."""
        moments = self._moments()
        self._check_widths()
        keys = self._keys(_told_apart(moments)) if self._roles.ids else []
        groups = groups_of(keys, moments, len(self._body))
        series: list[_Series] = []
        for column in {column.index: column for column in self._roles.values}.values():
            series += self._series_of(column, keys, groups)
        self._errors.check()
        for entry in series:
            if self._rows.is_turned and not moments:
                self._cut_end(entry)
            self._join_hours(entry)
            self._remove_stand_ins(entry)
        return self._with_values(series)

    def _series_of(self, column: Column, keys: Sequence[str], groups: dict[str | None, Group]) -> list[_Series]:
        """The series in a column of values: one for each group of rows."""
        found = {key: _Series(self._label(key, column), column, group) for key, group in groups.items()}
        index = column.index
        texts = [row.cells[index] if index < len(row.cells) else "" for row in self._body]
        values = self._numbers.parse_plain(texts)
        if values is None:
            values = []
            for position, text in enumerate(texts):
                value = self._number(text, position, column)
                if value is not None and text.strip(_OF_NUMBERS):
                    self._check_unit(found[keys[position] if keys else None], text, position)
                values.append(value)
        if not keys:
            found[None].values = values
        for key, value in zip(keys, values, strict=False):
            found[key].values.append(value)
        return list(found.values())

    def _cut_end(self, entry: _Series) -> None:
        """Cut the missing values at the end of a series that was a row: shorter ones are filled up with empty cells."""
        if any(value is not None for value in entry.values) and entry.values[-1] is None:
            while entry.values[-1] is None:
                entry.values.pop()
            self._note_once("empty cells at the end of a row were left out: the series ends before them")

    def _join_hours(self, entry: _Series) -> None:
        """Make one hour of an hour that comes twice in local times, as clocks are set back."""
        if entry.group.changed_on is None:
            return
        entry.values = joined_hours(entry.values, entry.group.repeated)
        self._note_once(
            f"the hour that comes twice on {entry.group.changed_on:%Y-%m-%d}, as clocks were set back, was read as the "
            "mean of both"
        )

    def _remove_stand_ins(self, entry: _Series) -> None:
        """Make missing what only stands for a missing value: -999 and the like among numbers that are far from it."""
        if self._options.missing is not None:
            return
        found = _STAND_INS.intersection(entry.values)
        if len(found) != 1:
            return
        remaining = [value for value in entry.values if value is not None and value not in found]
        if not remaining or min(remaining) < min(found) / 5:
            return
        entry.values = [None if value in found else value for value in entry.values]
        self._note_once(f"{min(found):.15g} was read as a missing value; missing= (empty) reads it as a number")

    def _note_once(self, note: str) -> None:
        if note not in self._notes:
            self._notes.append(note)

    def _with_values(self, series: list[_Series]) -> list[_Series]:
        """`series` without those that have no value at all."""
        present = [entry for entry in series if any(value is not None for value in entry.values)]
        if not present:
            raise bad_table("there is no number in the table, only missing values")
        if len(present) < len(series):
            kept = set(map(id, present))
            names = [f"'{printable(entry.name or '')}'" for entry in series if id(entry) not in kept]
            listed = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
            self._notes.append(f"{len(names)} series without any value were left out: {listed}")
        return present

    def table(self, series: Sequence[_Series], file_format: str) -> Table:
        """The table with its series on their grids."""
        inputs, timelines, seasons = [], [], []
        is_short = any(entry.group.moments and len(entry.group.moments) < _FEWEST_TIMES for entry in series)
        usual = self._usual_frequency(series) if is_short else None
        for entry in series:
            placed = self._put_on_grid(entry, usual)
            target = entry.values if placed is None else spread(entry.values, placed)
            timeline = placed.timeline if placed else None
            seasons.append(timeline.season if timeline else self._season_alone())
            inputs.append(SeriesInput(target, entry.name))
            timelines.append(timeline)
            if len(target) > self._limits.max_observations:
                detail = f"a series has {len(target)} values; at most {self._limits.max_observations}"
                self._errors.add("#", "series_too_long", detail)
        self._errors.check()
        names = Counter(timeline.grid.frequency.name for timeline in timelines if timeline)
        warnings = {code for timeline in timelines if timeline for code in timeline.warnings}
        if self._units:
            listed = ", ".join(f"{unit} of '{printable(name)}'" for unit, name in list(self._units.items())[:5])
            self._notes.append(f"units were left out: {listed}")
        self._notes += [SENTENCES[code] for code in sorted(warnings)]
        reading = TableReading(
            format=file_format,
            layout="wide" if self._roles.layout == "long" and not self._ids else self._roles.layout,
            rows=len(self._body),
            series=len(inputs),
            header=self._roles.has_header,
            value=[column.label for column in self._roles.values],
            encoding=self._rows.encoding,
            delimiter=self._rows.delimiter,
            decimal=self._numbers.decimal,
            thousands=self._numbers.thousands,
            id=[column.label for column in self._ids],
            time=[column.label for column in self._roles.times],
            date_order=self._dates.order if self._dates else None,
            freq=names.most_common(1)[0][0] if names else None,
            ignored_columns=[column.label for column in [*self._roles.ignored, *self._unused]],
            notes=self._notes,
        )
        parameters, with_series = parameters_of(self._options), self._options.include == "series"
        id_columns = [column.index for column in self._ids]
        return Table(inputs, timelines, seasons, parameters, self._options.model, reading, with_series, id_columns)

    # --- cells -------------------------------------------------------------------------------------------------------

    def _cell(self, position: int, column: Column) -> Cell:
        return self._cell_of(self._text(self._body[position], column), position, column)

    def _cell_of(self, text: str, position: int, column: Column) -> Cell:
        row = self._body[position]
        if row.positions is not None:
            return Cell(text, *row.positions[column.index], column.name)
        return Cell(text, row.line, position + self._first, column.index + 1, column.name)

    def _number(self, text: str, position: int, column: Column) -> float | None:
        try:
            return self._numbers.parse(text)
        except ValueError as error:
            has_words = not any(map(str.isdigit, text))
            hint = "; missing= names words for missing values" if has_words else ""
            self._errors.at_cell(self._cell_of(text, position, column), f"{error}{hint}")
            return None

    def _check_unit(self, series: _Series, text: str, position: int) -> None:
        """Record a unit that differs from that of the values before it."""
        unit = unit_of(text)
        if unit is None or (unit == KELVIN and self._numbers.k_is_thousand):
            return
        if series.unit is None:
            series.unit = unit
            self._units.setdefault(unit, series.column.label)
        elif unit != series.unit:
            cell = self._cell_of(text, position, series.column)
            self._errors.at_cell(cell, f"is in {unit}, the values before it in {series.unit}")

    def _number_format(self) -> NumberFormat:
        """The marks of the values; those of other numbers decide where the values can be read in two ways."""
        cells = self._cells(self._roles.values)
        if self._roles.layout == "list":
            cells = [cell for row in self._body for text in row.cells for cell in numbers_in(text)]
        number_format = find_number_format(cells, self._rows.delimiter, self._options.decimal)
        covariates = [column for column in self._roles.ignored if column.kind == "number"]
        if number_format.note and covariates:
            cells = self._cells(covariates) + cells
            common_format = find_number_format(cells, self._rows.delimiter, self._options.decimal)
            number_format = number_format if common_format.note else common_format
        if self._options.missing is not None:
            words = frozenset(word.strip().lower() for word in self._options.missing.split(","))
            number_format = replace(number_format, missing=words)
        has_kelvins = KELVIN in "".join(cells)  # asked of all columns first, since they may be many
        if has_kelvins and any(counts_thousands(self._cells([column])) for column in self._roles.values):
            number_format = replace(number_format, k_is_thousand=True)
            self._notes.append("numbers before K were multiplied by 1000")
        if number_format.note:
            self._notes.append(number_format.note)
        return number_format

    def _cells(self, columns: Sequence[Column]) -> list[str]:
        indexes = sorted({column.index for column in columns})
        return [row.cells[index] for row in self._body for index in indexes if index < len(row.cells)]

    def _check_widths(self) -> None:
        """Record rows with more cells than the table has columns, but for empty ones at their ends."""
        columns = [*self._roles.values, *self._roles.times, *self._roles.ids, *self._roles.ignored]
        width = len(self._rows.rows[0].cells) if self._roles.has_header else max(column.index for column in columns) + 1
        for position, row in enumerate(self._body):
            if len(row.cells) > width and any(cell.strip() for cell in row.cells[width:]):
                detail = f"line {row.line} has {len(row.cells)} cells, the table {width} columns"
                self._errors.add(f"#row={position + self._first}", "bad_table", detail)

    def _without_totals(self, body: list[Row]) -> list[Row]:
        """`body` without rows of totals: those that say so and have no time, and a last row without one."""
        times, ids = self._roles.times, self._roles.ids
        if len(body) < 2 or not (times or ids):
            return body
        has_totals = bool(times) and any(
            any(map(is_total, set(_texts_of(body, column)))) for column in [*times[:1], *ids]
        )
        totals = [row for row in body if self._is_total(row)] if has_totals else []
        if not times and any(is_total(self._text(body[-1], column)) for column in ids):
            totals = body[-1:]
        if totals and len(totals) < len(body):
            lines = ", ".join(str(row.line) for row in totals[:5]) + (" …" if len(totals) > 5 else "")
            is_or_are = (
                "line {} was left out: it is a total" if len(totals) == 1 else "lines {} were left out as totals"
            )
            self._notes.append(is_or_are.format(lines))
            lines_of_totals = {id(row) for row in totals}
            body = [row for row in body if id(row) not in lines_of_totals]
        last = body[-1]
        if len(body) < 2:
            return body
        if times and is_missing(self._text(last, times[0])) and not is_missing(self._text(body[-2], times[0])):
            self._notes.append(f"line {last.line}, the last one, was left out: it has no time, as a total has none")
            return body[:-1]
        return body

    def _is_total(self, row: Row) -> bool:
        """Whether a row says that it is a total, in place of its time or next to none."""
        time = self._text(row, self._roles.times[0])
        return is_total(time) or (is_missing(time) and any(is_total(self._text(row, name)) for name in self._roles.ids))

    # --- times -------------------------------------------------------------------------------------------------------

    def _moments(self) -> list[Moment]:
        """The time of each row, empty where there is none."""
        times = self._roles.times
        if not times:
            return []
        read_text = time_reader(times, self._notes)
        if len(times) == 1:
            texts = _texts_of(self._body, times[0])
        else:
            texts = [read_text(partial(self._text, row)) for row in self._body]
        present = [text for text in texts if not is_missing(text)]
        is_european = self._rows.delimiter == ";" or self._numbers.decimal == ","
        dates = find_date_format(present, self._options.date_order, prefers_day_first=is_european)
        if dates is None and times[0].kind == "number" and times[0].key in _DATED.split():
            dates = find_excel_format(present)
        if dates is None:
            return self._steps(texts)
        self._dates = dates
        if dates.note:
            self._notes.append(dates.note)
        moments = []
        read: dict[str, Moment] = {}  # series often have the same times
        for position, text in enumerate(texts):
            try:
                moment = read.get(text)
                if moment is None:
                    moment = read[text] = dates.read(text)
                moments.append(moment)
            except (ValueError, OverflowError):
                self._errors.at_cell(self._cell(position, times[0]), "is no time")
        self._errors.check()
        return moments

    def _steps(self, texts: Sequence[str]) -> list[Moment]:
        """Numbers of steps (`3`, `Week 3`) as days of a calendar, which no answer shows; none where there is none."""
        numbers = step_numbers(texts)
        if numbers is None or max(numbers) > _MAX_STEP:
            if self._options.time is not None or sum(text.isdigit() for text in texts) > len(texts) // 2:
                counts = map(whole_number, texts)
                position = next((i for i, count in enumerate(counts) if count is None or count > _MAX_STEP), 0)
                self._errors.at_cell(self._cell(position, self._roles.times[0]), "is no time")
                self._errors.check()
            name, example = self._roles.times[0].label, printable(texts[0])
            self._notes.append(
                f"'{printable(name)}' holds no times in a known writing ('{example}'): rows are in order"
            )
            self._roles = replace(self._roles, times=[], ignored=[*self._roles.ignored, *self._roles.times])
            return []
        self._is_counted = True
        return [Moment(_CALENDAR + dt.timedelta(days=number), None, None, "D") for number in numbers]

    def _text(self, row: Row, column: Column) -> str:
        return row.cells[column.index].strip() if column.index < len(row.cells) else ""

    def _usual_frequency(self, series: Sequence[_Series]) -> str | None:
        """The frequency of most series, for those that are too short to say their own."""
        if self._options.freq is not None:
            return self._options.freq
        names: Counter[str] = Counter()
        for entry in series[:200]:
            if len(entry.group.moments) >= _FEWEST_TIMES and not self._is_counted:
                try:
                    placed = self._placements.place(entry.group, None, self._line)
                except Fault:
                    continue
                names[placed.timeline.grid.frequency.name] += 1
        return names.most_common(1)[0][0] if names else None

    def _season_alone(self) -> int:
        """The season that a stated frequency suggests where there are no times."""
        return read_frequency(self._options.freq).season if self._options.freq is not None else 1

    def _put_on_grid(self, entry: _Series, usual: str | None) -> Placed | None:
        """The series on its grid; None without times. Its faults are recorded."""
        count = len(entry.group.moments)
        if not count:
            return None
        if entry.group.is_reversed:
            entry.values.reverse()
            self._note_once("the newest rows come first: they were read from the last to the first")
        freq = "D" if self._is_counted else self._options.freq or (usual if count < _FEWEST_TIMES else None)
        try:
            placed = self._placements.place(entry.group, freq, self._line)
            check_end(placed.timeline, self._options.prediction_length)
        except Fault as fault:
            self._record(fault, entry)
            return None
        if self._is_counted:
            entry.values = spread(entry.values, placed)
            return None
        return placed

    def _line(self, position: int) -> int:
        return self._body[position].line

    def _record(self, fault: Fault, entry: _Series) -> None:
        index = fault.index if fault.index is not None else 0
        cell = self._cell(entry.group.positions[index], self._roles.times[0])
        of_series = f" (series '{printable(entry.name)}')" if entry.name else ""
        self._errors.at_cell(
            cell, f"{fault.detail}{of_series}", "series_too_long" if fault.code == "series_too_long" else "bad_table"
        )

    # --- series ------------------------------------------------------------------------------------------------------

    def _keys(self, moments: Sequence[Moment]) -> list[str]:
        """The series of each row: by the first column, and by further ones as long as rows of one time repeat."""
        ids = self._roles.ids
        if self._options.id is None:
            ids = self._without_labels(ids, moments)
        if not ids:
            return []
        keys = _texts_of(self._body, ids[0])
        first_keys, count = keys, 1
        for count, column in enumerate(ids, start=1):
            if count > 1:
                keys = [f"{key} / {text}" for key, text in zip(keys, _texts_of(self._body, column), strict=True)]
            if self._options.id is None and (not moments or len(set(zip(keys, moments, strict=True))) < len(keys)):
                continue
            if self._options.id is not None and count < len(ids):
                continue
            break
        if not moments and self._options.id is None:
            keys, count = first_keys, 1
        self._ids, unused = ids[:count], ids[count:]
        if unused:
            self._unused += unused
            names = ", ".join(f"'{printable(column.label)}'" for column in unused)
            self._notes.append(f"{names} not needed to tell the series apart; id= names the columns to use")
        return keys

    def _without_labels(self, ids: list[Column], moments: Sequence[Moment]) -> list[Column]:
        """`ids` without columns of remarks and of numbers of rows: a series has more than one row."""
        if len(self._body) < 2:
            return ids
        is_long = bool(moments) and len(set(moments)) < len(moments)
        id_columns: list[Column] = []
        labels: list[Column] = []
        for column in ids:
            texts = _texts_of(self._body, column)
            count = len(set(texts))
            if is_long and (count > 1 or column.key in TIME_NAMES):  # the name of a weekday goes with its day
                goes_with_time = len(set(zip(moments, texts, strict=True))) == len(set(moments))
                is_label = count == len(self._body) or goes_with_time
            elif is_long or not moments:
                is_label = count == len(self._body)
            elif column.key in TIME_NAMES:
                is_label = True
            else:
                is_label = count > 1 and not self._sorts(column, moments)
            (labels if is_label else id_columns).append(column)
        if labels:
            self._unused += labels
            names = ", ".join(f"'{printable(column.label)}'" for column in labels)
            reason = "each time or row has one of its own" if is_long or not moments else "no two rows have one time"
            self._notes.append(f"not taken for ids of series, as {reason}: {names}; id= says otherwise")
        return id_columns

    def _sorts(self, column: Column, moments: Sequence[Moment]) -> bool:
        """Whether the times ascend, or descend, within the rows of each text of `column`, but not over all rows."""
        groups: dict[str, list[dt.datetime]] = {}
        for row, moment in zip(self._body, moments, strict=True):
            groups.setdefault(self._text(row, column), []).append(moment.clock)
        if 2 * len(groups) > len(self._body) or _is_ordered([moment.clock for moment in moments]):
            return False
        return all(map(_is_ordered, groups.values()))

    def _label(self, key: str | None, column: Column) -> str | None:
        """The id of a series in the answer."""
        several = len(self._roles.values) > 1
        name = column.name or (str(column.index + 1) if several else "")
        if key is None:
            return name[:256] or None
        return f"{key} / {name}"[:256] if several else key[:256]


def _texts_of(body: Sequence[Row], column: Column) -> list[str]:
    """The cells of a column; empty where a row is too short."""
    index = column.index
    return [row.cells[index].strip() if index < len(row.cells) else "" for row in body]


def _told_apart(moments: list[Moment]) -> list[Moment]:
    """`moments` in which the second hour of clocks that are set back has other times than the first."""
    if not moments or any(moment.offset is not None for moment in moments):
        return moments
    distinct = list(moments)
    for position in second_hours([moment.clock for moment in moments]):
        distinct[position] = replace(distinct[position], offset=dt.timedelta(0))
    return distinct


def _is_ordered(clocks: Sequence[dt.datetime]) -> bool:
    """Whether times ascend or descend."""
    return all(a < b for a, b in pairwise(clocks)) or all(a > b for a, b in pairwise(clocks))


def _checked_frequency(freq: str) -> None:
    try:
        read_frequency(freq)
    except Fault as fault:
        raise bad_table(f"freq {fault.detail}", "#/freq") from fault
