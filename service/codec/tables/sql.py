"""Rows in the SQL that databases write to carry a table elsewhere: INSERT statements, and COPY of PostgreSQL."""

from __future__ import annotations

import re

from service.codec.tables.types import bad_table, printable

_NAME = r"(?:[\"`\[][^\"`\]\n]+[\"`\]]|[^\W\d][\w$]*)"
_TABLE = rf"(?P<table>{_NAME}(?:\.{_NAME})*)"
_STATEMENT = re.compile(
    rf"^[ \t]*(?:INSERT\s+(?:(?:OR\s+)?[a-z]+\s+)?(?:INTO\s+)?{_TABLE}\s*"
    r"(?:(?P<names>\([^()]*\))\s*)?(?:VALUES|SELECT)\s*"
    rf"|COPY\s+{_TABLE.replace('table', 'copied')}\s*(?:(?P<copied_names>\([^()]*\))\s*)?FROM\s+stdin.*;\n)",
    re.IGNORECASE | re.MULTILINE,
)
_CREATE = re.compile(rf"^[ \t]*CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_TABLE}\s*\(", re.IGNORECASE | re.MULTILINE)
_CREATED_NAME = re.compile(
    r"\s*(?P<name>[\"`\[][^\"`\]]+[\"`\]]|(?!(?:PRIMARY|KEY|UNIQUE|CONSTRAINT|INDEX|CHECK)\b)\w+)\s+\w"
)
_QUOTED = r"'(?:[^'\\]|''|\\.)*'"
_TOKEN = re.compile(
    rf"\s*(?:(?P<open>\()|(?P<close>\))|(?P<comma>,)|(?P<end>;)|(?:[A-Za-z_]+\s*)?(?P<quoted>{_QUOTED})"
    r"|(?P<plain>[^\s,();']+))",
    re.DOTALL,
)
_ESCAPED = re.compile(r"''|\\(.)", re.DOTALL)
_STATEMENTS = frozenset({"INSERT", "COPY"})
_NULLS = frozenset({"null", "default"})
_LOOKED_AT = 65_536  # characters before the first statement

Inserted = tuple[int, list[str]]  # the line on which a row begins, and its cells


def find_statement(text: str) -> bool:
    """Whether `text` is SQL that inserts rows, perhaps below comments, settings and CREATE TABLE."""
    return _STATEMENT.search(text[:_LOOKED_AT]) is not None


def read_inserts(text: str) -> tuple[list[Inserted], list[str]]:
    """The names of columns, where there are any, and the rows of the first table; notes on what was left out.

    Raises `InvalidRequest` where there are none.
    """
    rows: list[Inserted] = []
    first = _STATEMENT.search(text)
    if first is None:
        raise bad_table("the SQL inserts nothing")
    table = first["table"] or first["copied"]
    names = _names(first["names"] or first["copied_names"]) or _created_names(text, table)
    others: dict[str, None] = {}
    line, position = 1, 0
    end = 0  # of the rows of the statement before: what looks like a statement within them is a text
    for statement in _STATEMENT.finditer(text):
        if statement.start() < end:
            continue
        line += text.count("\n", position, statement.end())
        position = statement.end()
        if (statement["table"] or statement["copied"]) != table:
            others[statement["table"] or statement["copied"]] = None
            continue
        found, end = (_copied if statement["copied"] else _tuples)(text, position, line)
        rows += found
    if not rows:
        raise bad_table(f"the SQL inserts no row of values into {printable(table)}")
    header = [(rows[0][0], names)] if names else []
    notes = [f"the rows of the table {printable(table)} were read"]
    notes += [f"left out: those of {', '.join(map(printable, list(others)[:5]))}"] if others else []
    return header + rows, notes


def _names(text: str | None) -> list[str]:
    return [name.strip().strip('"`[]') for name in text.strip("()").split(",")] if text else []


def _created_names(text: str, table: str) -> list[str]:
    """The names of columns in the CREATE TABLE of `table`."""
    for match in _CREATE.finditer(text[:_LOOKED_AT]):
        if match["table"] == table:
            columns = re.split(r",\s*|\n", text[match.end() : match.end() + _LOOKED_AT].partition(";")[0])
            found = [_CREATED_NAME.match(column) for column in columns]
            return [name["name"].strip('"`[]') for name in found if name]
    return []


def _tuples(text: str, position: int, line: int) -> tuple[list[Inserted], int]:
    """The rows between parentheses from `position` on, up to the end of their statement, and where that is."""
    rows: list[Inserted] = []
    cells: list[str] | None = None
    depth = 0
    while token := _TOKEN.match(text, position):
        plain = token["plain"]
        # The next statement, where no semicolon ends this one, or no parenthesis its last row.
        if plain and (cells is None or plain.upper() in _STATEMENTS):
            return rows, position
        line += text.count("\n", position, token.end())
        position = token.end()
        if token["end"]:
            return rows, position
        if token["open"]:
            depth += 1
            cells = [] if depth == 1 else cells
        elif token["close"]:
            depth -= 1
            if depth == 0:
                rows += [(line, cells)] if cells else []
                cells = None
        elif depth == 1 and cells is not None and (token["quoted"] or token["plain"]):
            cells.append(_value(token))
        elif depth > 1 and cells is not None and token["quoted"]:  # TO_DATE('2024-01-01', 'YYYY-MM-DD')
            cells[-1:] = [_value(token)] if cells and cells[-1].isidentifier() else cells[-1:]
    return rows, len(text)  # or a quote that has no end


def _value(token: re.Match[str]) -> str:
    if token["quoted"] is None:
        plain = token["plain"]
        return "" if plain.lower() in _NULLS else plain
    return _ESCAPED.sub(lambda escape: escape[1] or "'", token["quoted"][1:-1])


def _copied(text: str, position: int, line: int) -> tuple[list[Inserted], int]:
    r"""The rows of COPY, cells between tabs, up to the line `\.`, and where that is."""
    rows: list[Inserted] = []
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        row = text[position:end]
        if row.strip() == "\\.":
            return rows, position
        if row.strip():
            cells = ["" if cell == "\\N" else cell for cell in row.rstrip("\r").split("\t")]
            rows.append((line, cells))
        position, line = end + 1, line + 1
    return rows, len(text)
