"""Which column of a table is what: series, times, values; by the query, else by names and contents."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from service.codec.tables.dates import is_clock, looks_like_date
from service.codec.tables.numerals import are_usual_numbers, is_missing, looks_like_number, numbers_in, whole_number
from service.codec.tables.rows import Row
from service.codec.tables.shapes import is_total
from service.codec.tables.time_columns import TIME_NAMES, choose_times
from service.codec.tables.types import Cell, Column, Layout, TableOptions, bad_table, printable
from service.contract.errors import InvalidRequest

_ID_WORDS = """
id item_id unique_id series_id series item itemid uid key name sku product product_id store store_id store_nbr shop
sensor sensor_id device device_id station group category region location article artikel filiale produkt producto
tienda articulo artículo serie magasin produit articolo negozio product_title product_name item_name store_name
sucursal ciudad city country país pais land pays paese region región ticker symbol entity_id metric
host instance node pod channel campaign winkel товар магазин geo customer client cliente kunde kundennummer
material werk plant lager warehouse depot artikelnummer artikelnr meter zähler zaehler contador compteur cups mpan
machine maschine asset referencia reference código codigo code brand marca marke marque family familia
"""
_ID_ENDINGS = ("_id", "_code", "_sku", "_nbr", "_nr", "_key")
_VALUE_WORDS = """
value values y target sales qty quantity amount demand count total units revenue observation reading measurement val
valor valores ventas cantidad importe wert werte umsatz menge absatz anzahl betrag verkäufe ventes valeur quantité
quantite montant vendite valore quantità verkoop aantal omzet sprzedaż продажи количество сумма 销量 数量 金额 売上
"""
ID_NAMES, VALUE_NAMES = (frozenset(words.split()) for words in (_ID_WORDS, _VALUE_WORDS))
_LEADING_ZERO = re.compile(r"0[0-9]+\Z")
_INDEX_NAMES = frozenset(
    ["", *["index", "idx", "row", "rownames", "row_names", "nr", "no", "#", "unnamed_0", "rowid", "record"]]
)
_LOOKED_AT = 1000  # rows, and columns for a name like a stated one
_LONGEST_NAME = 100  # characters of a name that a misspelt one is compared with: that takes their square
MAX_COLUMNS = 1 << 14  # as spreadsheets have: what each of them is, is looked at one by one
_MAX_TURNED = 1 << 16  # columns of a table that was turned: they are what its rows were
_SAMPLE_SIZE = 200  # cells


class Roles(Struct, frozen=True):
    """Columns by what they are for."""

    layout: Layout
    values: list[Column]
    times: list[Column]
    ids: list[Column]  # the first says the series; the others do so where rows of one time repeat
    ignored: list[Column]
    notes: list[str]
    has_header: bool


def find_roles(rows: Sequence[Row], options: TableOptions, *, all_values: bool = False) -> Roles:
    """The roles of the columns of `rows`, of which the first may be a header; raises `InvalidRequest` (`bad_table`).

    With `all_values` every column but that of times is a series, of any name.
    """
    if is_list(rows) and options.value is options.time is options.id is None:
        return Roles("list", [], [], [], [], [], has_header=False)
    width = max(len(row.cells) for row in rows[:_LOOKED_AT])
    if width > _MAX_TURNED:
        raise too_many_columns(width, _MAX_TURNED)
    body = rows[1:]
    columns = [_column(body, index) for index in range(width)]
    has_header = options.header if options.header is not None else _has_header(rows, columns)
    if not has_header:
        body = rows
        columns = [_column(body, index) for index in range(width)]
    if len(rows) == 1 and not has_header:
        _check_numbers(rows[0])
    if not body:
        raise bad_table("the table has names of columns, and no rows")
    if has_header:
        names = [name.strip() for name in rows[0].cells]
        columns[: len(names)] = [replace(column, name=name) for column, name in zip(columns, names, strict=False)]
    columns = _with_distinct_names(columns)
    return _Choice(columns, body, options, has_header, all_values=all_values).roles()


def too_many_columns(width: int, most: int) -> InvalidRequest:
    """The error of a table that has more than `most` columns."""
    return bad_table(f"a table has at most {most} columns, not {width}: send it as rows of series, time and value")


def _with_distinct_names(columns: list[Column]) -> list[Column]:
    """`columns` of which those of numbers that have the name of one before them are numbered: `sales (2)`."""
    seen: Counter[str] = Counter()
    distinct = []
    for column in columns:
        seen[column.name] += 1
        is_second = seen[column.name] > 1 and column.name and column.kind == "number"
        distinct.append(replace(column, name=f"{column.name} ({seen[column.name]})") if is_second else column)
    return distinct


def is_list(rows: Sequence[Row]) -> bool:
    """Whether a file is nothing but numbers in one line, or in lines of different lengths: one series."""
    widths = {len(row.cells) for row in rows}
    if len(rows) > 1 and len(widths) == 1:
        return False
    cells = [cell for row in rows for text in row.cells for cell in numbers_in(text)]
    return len(cells) > 1 and all(looks_like_number(cell) or is_missing(cell) for cell in cells)


def _check_numbers(row: Row) -> None:
    """Raise the error of a single row that is neither a list of numbers nor names of columns."""
    for index, text in enumerate(row.cells):
        if not looks_like_number(text) and not is_missing(text):
            cell = Cell(text, row.line, 1, index + 1, "")
            raise bad_table(f"{cell.position} is no number, and there are no further rows", cell.pointer)


def _column(body: Sequence[Row], index: int) -> Column:
    """The column at `index`, without its name."""
    cells = [row.cells[index].strip() for row in body[:_LOOKED_AT] if index < len(row.cells)]
    kind = _kind(cells)
    first = whole_number(cells[0]) if kind == "number" and len(cells) > 1 else None
    counted = first in {0, 1} and all(whole_number(cell) == number for number, cell in enumerate(cells, first or 0))
    return Column(index, "", kind, counted, cells[:: max(1, len(cells) // _SAMPLE_SIZE)])


def _kind(cells: Sequence[str]) -> str:
    """What four in five of the cells that hold something are."""
    if are_usual_numbers(cells):  # what most columns hold
        return "number" if any(cells) else "empty"
    present = [cell for cell in cells if not is_missing(cell)]
    if not present:
        return "empty"
    sample = present[:: max(1, len(present) // 200)]
    for kind, test in (("clock", is_clock), ("date", looks_like_date), ("number", looks_like_number)):
        if sum(map(test, sample)) >= 0.8 * len(sample):
            return kind
    return "text"


def _has_header(rows: Sequence[Row], below: Sequence[Column]) -> bool:
    """Whether the first row names the columns `below`: a cell of it is a word where those are numbers or dates.

    A table of words alone has a header where its names are usual ones.
    """
    first = rows[0].cells
    if len(rows) == 1:
        return not any(looks_like_number(cell) for cell in first)
    for text, column in zip(first, below, strict=False):
        cell = text.strip()
        is_word = bool(cell) and not (
            looks_like_number(cell) or looks_like_date(cell) or is_clock(cell) or is_missing(cell)
        )
        if column.kind in {"number", "date", "clock", "empty"} and is_word:
            return True
    usual = TIME_NAMES | ID_NAMES | VALUE_NAMES
    return any(cell.strip().lower() in usual for cell in first)


def _without(columns: Sequence[Column], *assigned: Sequence[Column]) -> list[Column]:
    """Those `columns` that are not among the `assigned` ones."""
    indexes = {column.index for group in assigned for column in group}
    return [column for column in columns if column.index not in indexes]


class _Choice:
    """Chooses the columns for each role, and notes what could be chosen otherwise."""

    def __init__(
        self, columns: list[Column], body: Sequence[Row], options: TableOptions, has_header: bool, *, all_values: bool
    ) -> None:
        self._columns = columns
        self._body = body
        self._time_columns: list[Column] = []
        self._repeats_times = True  # rows of one time belong to several series
        self._by_name: dict[str, Column] = {}  # or by number, where a column has no name
        self._by_small_name: dict[str, Column] = {}
        self._options = options
        self._has_header = has_header
        self._all_values = all_values
        self._notes: list[str] = []

    def roles(self) -> Roles:
        times = self._time_columns = self._times()
        self._repeats_times = not times or self._repeats(times)
        if self._all_values and not (self._options.value or self._options.id):
            series = _without(self._columns, times)
            return Roles("wide", series, times, [], [], self._notes, self._has_header)
        values = self._stated(self._options.value, "value") if self._options.value else None
        free = _without(self._columns, times, values or [])
        ids = self._stated(self._options.id, "id") if self._options.id else self._ids(free, values)
        if values is None:
            values = self._values(_without(free, ids), bool(ids))
        ignored = _without(self._columns, times, values, ids)
        self._note_left_out([column for column in ignored if self._is_index(column)], "numbers of rows")
        self._note_left_out([column for column in ignored if column.kind == "empty" and column.name], "without values")
        ignored = [column for column in ignored if column.kind != "empty" and not self._is_index(column)]
        return Roles("long" if ids else "wide", values, times, ids, ignored, self._notes, self._has_header)

    def _note_left_out(self, columns: Sequence[Column], reason: str) -> None:
        """Say that columns were left out which nobody would take for values."""
        if columns:
            listed = ", ".join(f"'{printable(column.label)}'" for column in columns)
            self._notes.append(f"left out, as {reason}: {listed}")

    def _stated(self, names: str | None, option: str) -> list[Column]:
        return [self._named(name.strip(), option) for name in (names or "").split(",") if name.strip()]

    def _named(self, name: str, option: str) -> Column:
        """The column of that name in any case, or of that number where there is no header."""
        if not self._by_name:
            for column in reversed(self._columns):  # the first of several remains
                self._by_name[column.label] = self._by_small_name[column.name.lower()] = column
        found = self._by_name.get(name) or self._by_small_name.get(name.lower())
        if found is not None:
            return found
        names = [column.label for column in self._columns]
        likely = [label for label in names[:_LOOKED_AT] if len(label) <= _LONGEST_NAME]
        near = difflib.get_close_matches(name, likely, n=1) if len(name) <= _LONGEST_NAME else []
        listed = ", ".join(printable(name) for name in names[:20])
        hint = f"; did you mean '{printable(near[0])}'?" if near else ""
        raise bad_table(f"{option}: there is no column '{printable(name)}' among {listed}{hint}", f"#/{option}")

    def _times(self) -> list[Column]:
        """The columns of a time: the stated ones, or those that look so."""
        if self._options.time is not None:
            return self._stated(self._options.time, "time")
        return choose_times(self._columns, self._notes)

    def _repeats(self, columns: Sequence[Column]) -> bool:
        """Whether two of the first rows have the same cells in all of `columns`."""
        keys = [self._key_of(row, columns) for row in self._body[:_LOOKED_AT]]
        return len(set(keys)) < len(keys)

    @staticmethod
    def _key_of(row: Row, columns: Sequence[Column]) -> tuple[str, ...]:
        return tuple(row.cells[column.index] if column.index < len(row.cells) else "" for column in columns)

    def _ids(self, free: Sequence[Column], values: list[Column] | None) -> list[Column]:
        """The columns that say which series a row belongs to: a usual name first, then columns of words."""
        named = [column for column in free if column.key in ID_NAMES and column.kind in {"text", "number"}]
        named += [column for column in _without(free, named) if self._is_code(column)]
        rest = _without(free, named)
        numeric = [column for column in rest if column.kind == "number" and not self._is_index(column)]
        if not numeric and not values:
            named = [column for column in named if column.kind == "text"]
        words = [column for column in _without(free, named) if column.kind == "text"]
        return [*named, *words] or self._numbers_as_ids(numeric)

    def _numbers_as_ids(self, numeric: Sequence[Column]) -> list[Column]:
        """The first column of whole numbers that tells rows of one time apart, where there is no other id."""
        times = self._time_columns
        if not times or not self._repeats_times or len(numeric) < 2:
            return []
        for column in numeric:
            is_whole = all(cell.isdigit() for cell in column.sample if not is_missing(cell))
            is_value = column.key in VALUE_NAMES or not self._is_panel(times, column)
            if is_whole and not is_value and not self._repeats([*times, column]):
                name = printable(column.label)
                self._notes.append(
                    f"'{name}' was read as the id of series, as rows of one time differ in it; id= names others"
                )
                return [column]
        return []

    def _is_panel(self, times: Sequence[Column], column: Column) -> bool:
        """Whether a column has few more texts than rows have the same time, as ids of series have."""
        rows = self._body[:_LOOKED_AT]
        texts = {self._key_of(row, [column]) for row in rows}
        most_rows = max(Counter(self._key_of(row, times) for row in rows).values())
        return len(texts) <= 2 * most_rows and len(texts) < len(rows)

    def _is_code(self, column: Column) -> bool:
        """Whether a column holds codes that look like numbers: by the end of its name, or by zeros before them."""
        if column.kind != "number" or self._is_index(column) or column.key in TIME_NAMES:
            return False
        has_zeros = any(map(_LEADING_ZERO.match, column.sample))
        return column.key.endswith(_ID_ENDINGS) or (has_zeros and bool(column.name))

    def _values(self, free: Sequence[Column], is_long: bool) -> list[Column]:
        numbers = [column for column in free if column.kind == "number"]
        plain = [column for column in numbers if not self._is_index(column)]
        numbers = [column for column in plain if column.key not in TIME_NAMES] or plain or numbers
        if not numbers:
            raise self._without_numbers()
        usual = [column for column in numbers if column.key in VALUE_NAMES]
        is_long = is_long and self._repeats_times
        if len(numbers) == 1 or not (usual or is_long) or (usual and not is_long and is_total(usual[0].name)):
            return numbers
        chosen = (usual or numbers)[0]
        left_out = ", ".join(f"'{printable(column.label)}'" for column in numbers if column is not chosen)
        name = printable(chosen.label)
        self._notes.append(
            f"the values are those of '{name}'; left out, as covariates are: {left_out}; value= names others"
        )
        return [chosen]

    def _without_numbers(self) -> InvalidRequest:
        """The error of a table without a column of numbers: it shows what stands where most numbers are."""
        detail = "no column holds numbers: value= names the column of the values"
        words = [column for column in self._columns if column.kind == "text"]
        shares = {column.index: sum(map(looks_like_number, column.sample)) for column in words}
        if not shares:
            return bad_table(detail)
        index = max(shares, key=lambda index: (shares[index], index))
        for number, row in enumerate(self._body, start=2 if self._has_header else 1):
            text = row.cells[index] if index < len(row.cells) else ""
            if not (looks_like_number(text) or is_missing(text)):
                cell = Cell(text, row.line, number, index + 1, self._columns[index].name)
                return bad_table(f"{detail}; {cell.position} is no number", cell.pointer)
        return bad_table(detail)

    def _is_index(self, column: Column) -> bool:
        """Whether a column numbers the rows."""
        return column.is_counted and self._has_header and column.key in _INDEX_NAMES
