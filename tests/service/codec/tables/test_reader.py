"""Files as spreadsheets, pandas, R, databases and sensors write them, read as a person would."""

from __future__ import annotations

import contextlib
import difflib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.codec.tables.numerals import NumberFormat
from service.codec.tables.reader import Limits, parameters_of, read_csv
from service.codec.tables.types import Table, TableOptions
from service.contract.errors import InvalidRequest

Series = dict[str | None, list[float | None]]


EXPORTS: dict[str, Any] = json.loads((Path(__file__).parent / "exports.json").read_text(encoding="utf-8"))


def read(content: str | bytes, **options: Any) -> Table:
    content = content.encode() if isinstance(content, str) else content
    return read_csv(content, TableOptions(**options), Limits(1000))


def series(table: Table) -> Series:
    return {entry.item_id: list(entry.target) for entry in table.inputs}


def following(table: Table) -> list[str | None]:
    """The first time ahead of each series."""
    return [timeline.texts(timeline.length, 1)[0] if timeline else None for timeline in table.timelines]


def refusal(content: str | bytes, **options: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(content, **options)
    return caught.value


FILES: dict[str, tuple[str | bytes, Series, str | None]] = {  # content, series, first time ahead of the first series
    "a German spreadsheet": (
        "\ufeffDatum;Filiale;Umsatz\r\n01.01.2024;Köln;1.234,50 €\r\n02.01.2024;Köln;987,00 €\r\n04.01.2024;Köln;-5\r\n"
        "01.01.2024;Bonn;12,5\r\n02.01.2024;Bonn;13\r\n",
        {"Köln": [1234.5, 987, None, -5], "Bonn": [12.5, 13]},
        "2024-01-05",
    ),
    "a Spanish spreadsheet": (
        "Mes;Año pasado\nenero 2024;1.200,5\nfebrero 2024;1.300\nmarzo 2024;\n".encode("cp1252"),
        {"Año pasado": [1200.5, 1300, None]},
        "2024-04",
    ),
    "an American spreadsheet": (
        'Date,Store,Sales\n1/31/2024,A,"1,234.50"\n2/29/2024,A,"$2,000"\n3/31/2024,A,(12)\n',
        {"A": [1234.5, 2000, -12]},
        "2024-04-30",
    ),
    "Excel's Unicode text": (
        "date\tv\n2024-01-01\t1\n2024-01-02\t2\n".encode("utf-16"),
        {"v": [1, 2]},
        "2024-01-03",
    ),
    "a hint of Excel": ("sep=;\na;b\n1;2\n3;4\n", {"a": [1, 3], "b": [2, 4]}, None),
    "pandas, wide": (
        ",a,b\n2024-01-01,1.0,2\n2024-01-02,,3\n2024-01-04,4,5\n",
        {"a": [1, None, None, 4], "b": [2, 3, None, 5]},
        "2024-01-05",
    ),
    "pandas, long": (
        ",unique_id,ds,y\n0,s1,2024-01-01,1\n1,s1,2024-01-02,2\n2,s2,2024-01-01,5\n3,s2,2024-01-02,6\n",
        {"s1": [1, 2], "s2": [5, 6]},
        "2024-01-03",
    ),
    "R": (
        '"","Month","AirPassengers"\n"1","1949-01-01",112\n"2","1949-02-01",NA\n"3","1949-03-01",132\n',
        {"AirPassengers": [112, None, 132]},
        "1949-04-01",
    ),
    "R's times of a series": (
        '"time","value"\n1949,112\n1949.08333333333,118\n1949.16666666667,132\n',
        {"value": [112, 118, 132]},
        "1949-04",
    ),
    "a database": (
        "id|ts|value\n1|2024-01-01 00:00:00+00|3\n1|2024-01-01 01:00:00+00|NULL\n1|2024-01-01 02:00:00+00|5\n",
        {"1": [3, None, 5]},
        "2024-01-01T03:00:00+00:00",
    ),
    "a sensor": (
        "# station 7\n\nDate,Time,Temp,Hum\n2024-01-01,00:00:03,1.5,80\n2024-01-01,00:05:02,1.6,81\n"
        "2024-01-01,00:15:01,1.9,82\n",
        {"Temp": [1.5, 1.6, None, 1.9], "Hum": [80, 81, None, 82]},
        "2024-01-01T00:20:03",
    ),
    "Unix times": ("timestamp,value\n1704067200,1\n1704070800,2\n", {"value": [1, 2]}, "2024-01-01T02:00:00Z"),
    "several columns of ids": (
        "date,store_nbr,family,sales\n2024-01-01,1,AUTO,1\n2024-01-01,1,BABY,2\n2024-01-02,1,AUTO,3\n2024-01-02,1,BABY,4\n",
        {"1 / AUTO": [1, 3], "1 / BABY": [2, 4]},
        "2024-01-03",
    ),
    "newest first": ("Date,Close\n2024-01-03,3\n2024-01-02,2\n2024-01-01,1\n", {"Close": [1, 2, 3]}, "2024-01-04"),
    "year and month": ("year,month,sales\n2024,1,1\n2024,2,2\n2024,3,3\n", {"sales": [1, 2, 3]}, "2024-04"),
    "quarters": ("Quarter,GDP\n2020Q1,1\n2020Q2,2\n2020Q3,3\n", {"GDP": [1, 2, 3]}, "2020-10-01"),
    "a title and a total": (
        "Report of sales\n\nDate,Region,Sales\n2024-01-01,N,5\n2024-01-02,N,6\nTotal,,11\n",
        {"N": [5, 6]},
        "2024-01-03",
    ),
    "a database's console": (
        " id | ts                  | value \n----+---------------------+-------\n"
        "  1 | 2024-01-01 00:00:00 |     3\n  1 | 2024-01-01 01:00:00 |     4\n(2 rows)\n",
        {"1": [3, 4]},
        "2024-01-01T02:00:00",
    ),
    "a key for each row": (
        "id,ts,value\n17,2024-01-01,3\n18,2024-01-02,4\n21,2024-01-03,6\n",
        {"value": [3, 4, 6]},
        "2024-01-04",
    ),
    "remarks": (
        "date,v,comment\n2024-01-01,1,ok\n2024-01-02,2,\n2024-01-03,3,bad day\n",
        {"v": [1, 2, 3]},
        "2024-01-04",
    ),
    "a row of units": ("date,temp\n,°C\n2024-01-01,5\n2024-01-02,6\n", {"temp": [5, 6]}, "2024-01-03"),
    "a row for each series": (
        "item,2024-01,2024-02,2024-03\na,1,2,3\nb,4,,6\n",
        {"a": [1, 2, 3], "b": [4, None, 6]},
        "2024-04",
    ),
    "a row for each series, days numbered": (
        "id,d_1,d_2,d_3\nx,3,0,1\ny,2,2,2\n",
        {"x": [3, 0, 1], "y": [2, 2, 2]},
        None,
    ),
    "a row for each year": (
        "year,Jan,Feb,Mar,Apr,May,Jun,Jul,Aug,Sep,Oct,Nov,Dec\n2020,1,2,3,4,5,6,7,8,9,10,11,12\n2021,1,2,,4,,,,,,,,\n",
        {"value": [*range(1, 13), 1, 2, None, 4]},
        "2021-05",
    ),
    "a house": (
        "entity_id,state,last_changed\nsensor.a,1.5,2024-01-01T00:00:00.123Z\n"
        "sensor.a,unavailable,2024-01-01T01:00:00.456Z\nsensor.a,2.5,2024-01-01T02:00:00.003Z\n",
        {"sensor.a": [1.5, None, 2.5]},
        "2024-01-01T03:00:00.123000Z",
    ),
    "lines of an old Macintosh": ("date,v\r2024-01-01,1\r2024-01-02,2\r", {"v": [1, 2]}, "2024-01-03"),
    "half days": ("when,kwh\n1/13/2024 1:00 PM,1\n1/13/2024 2:00 PM,2\n", {"kwh": [1, 2]}, "2024-01-13T15:00:00"),
    "steps": ("id,t,value\na,1,5\na,2,6\na,4,7\n", {"a": [5, 6, None, 7]}, None),
    "a column of numbers": ("12\n13.5\nnan\n15\n", {None: [12, 13.5, None, 15]}, None),
    "decimal commas alone": ("12\n13,5\n14,25\n", {None: [12, 13.5, 14.25]}, None),
    "a line of numbers": ("1, 2, 3, nan, 4", {None: [1, 2, 3, None, 4]}, None),
    "numbers anyhow": ("1, 2\n3 nan\n4\n", {None: [1, 2, 3, None, 4]}, None),
    "blanks between columns": ("a b\n1 2\n3 4\n", {"a": [1, 3], "b": [2, 4]}, None),
    "thousands by blanks": ("a;b\n1 234,5;1'000\n2 000,0;2'000\n", {"a": [1234.5, 2000], "b": [1000, 2000]}, None),
    "columns without a name": ("2024-01-01,5\n2024-01-02,6\n", {None: [5, 6]}, "2024-01-03"),
    "a German spreadsheet in Windows-1252": (
        "Datum;Artikel;Menge;Preis\r\n31.12.2024;Käse;1.234;2,50 €\r\n01.01.2025;Käse;987;2,55 €\r\n".encode("cp1252"),
        {"Käse": [1234, 987]},
        "2025-01-02",
    ),
    "a French spreadsheet": (
        "Date;Chiffre d'affaires\r\n13/02/2024;1 234,50 €\r\n14/02/2024;1\u202f100,00 €\r\n",
        {"Chiffre d'affaires": [1234.5, 1100]},
        "2024-02-15",
    ),
    "months with short years": ("Month,Sales\nJan-24,1\nFeb-24,2\nMar-24,3\n", {"Sales": [1, 2, 3]}, "2024-04"),
    "weeks": ("week,v\n2024W51,1\n2024W52,2\n2025W01,3\n2025W02,4\n", {"v": [1, 2, 3, 4]}, "2025-01-13"),
    "weeks in German": ("KW;v\nKW 51/2024;1\nKW 52/2024;2\nKW 01/2025;3\n", {"v": [1, 2, 3]}, "2025-01-06"),
    "weeks in digits": ("yearweek,v\n202451,1\n202452,2\n202501,3\n", {"v": [1, 2, 3]}, "2025-01-06"),
    "quarters, the year last": ("period,v\n1Q24,1\n2Q24,2\n3Q24,3\n", {"v": [1, 2, 3]}, "2024-10-01"),
    "nanoseconds": (
        "name,time,usage\ncpu,1704067200000000000,0.5\ncpu,1704067210000000000,0.6\n",
        {"cpu": [0.5, 0.6]},
        "2024-01-01T00:00:20Z",
    ),
    "a database's console, in a frame": (
        "+------------+-----+\n| day        | n   |\n+------------+-----+\n| 2024-01-01 | 12  |\n| 2024-01-02 | 13  |\n"
        "+------------+-----+\n2 rows in set (0.00 sec)\n",
        {"n": [12, 13]},
        "2024-01-03",
    ),
    "a meter's stretches of time": (
        '"MTU","Load [MW]"\n"01.01.2024 00:00 - 01.01.2024 01:00","45"\n"01.01.2024 01:00 - 01.01.2024 02:00","44"\n',
        {"Load [MW]": [45, 44]},
        "2024-01-01T02:00:00",
    ),
    "quarter hours from and to": (
        "Datum;von;bis;kWh\n01.01.2024;23:30;23:45;0,123\n01.01.2024;23:45;00:00;0,234\n",
        {"kWh": [0.123, 0.234]},
        "2024-01-02T00:00:00",
    ),
    "year and quarter": ("Year,Quarter,GDP\n2023,3,1\n2023,4,2\n2024,1,3\n", {"GDP": [1, 2, 3]}, "2024-04-01"),
    "year and week": ("Year,Week,Sales\n2023,51,1\n2023,52,2\n2024,1,3\n", {"Sales": [1, 2, 3]}, "2024-01-08"),
    "year and month in words": ("Año;Mes;Ventas\n2024;Enero;1\n2024;Febrero;2\n", {"Ventas": [1, 2]}, "2024-03"),
    "date and hour": (
        "Date,Hour,Load\n2024-01-01,23,1\n2024-01-02,0,2\n2024-01-02,1,3\n",
        {"Load": [1, 2, 3]},
        "2024-01-02T02:00:00",
    ),
    "hours that end": (
        "Date,HE,Load\n2024-01-01,23,1\n2024-01-01,24,2\n2024-01-02,1,3\n",
        {"Load": [1, 2, 3]},
        "2024-01-02T01:00:00",
    ),
    "a spreadsheet's days": ("Date,Sales\n45292,1\n45293,2\n45295,4\n", {"Sales": [1, 2, None, 4]}, "2024-01-05"),
    "currencies, signs and brackets": (
        'date,price\n2024-01-01,"$1,234.50"\n2024-01-02,-$20.00\n2024-01-03,($5.00)\n',
        {"price": [1234.5, -20, -5]},
        "2024-01-04",
    ),
    "units": ("date,temp\n2024-01-01,20.5 °C\n2024-01-02,21 °C\n", {"temp": [20.5, 21]}, "2024-01-03"),
    "per cent": ("date,rate\n2024-01-01,12.5%\n2024-01-02,13 %\n", {"rate": [12.5, 13]}, "2024-01-03"),
    "thousands by letters": ("date,n\n2024-01-01,1.2K\n2024-01-02,900\n", {"n": [1200, 900]}, "2024-01-03"),
    "a total without a name": ("date,n\n2024-01-01,1\n2024-01-02,2\n,3\n", {"n": [1, 2]}, "2024-01-03"),
    "totals on both sides": (
        "Product,Jan-24,Feb-24,Mar-24,Total\nA,1,2,3,6\nB,5,6,7,18\nTotal,6,8,10,24\n",
        {"A": [1, 2, 3], "B": [5, 6, 7]},
        "2024-04",
    ),
    "a column that adds up the others": (
        "Date,North,South,Total\n2024-01-01,5,1,6\n2024-01-02,6,2,8\n",
        {"North": [5, 6], "South": [1, 2], "Total": [6, 8]},
        "2024-01-03",
    ),
    "comments of several kinds": (
        "// exported\n; by a tool\n-- of SQL\n% of MATLAB\ndate,n\n2024-01-01,1\n# gap\n2024-01-02,2\n",
        {"n": [1, 2]},
        "2024-01-03",
    ),
    "a column of numbers of rows": ("#,date,n\n1,2024-01-01,5\n2,2024-01-02,6\n", {"n": [5, 6]}, "2024-01-03"),
    "UTF-16 without a mark": ("date,n\n2024-01-01,1\n2024-01-02,2\n".encode("utf-16-le"), {"n": [1, 2]}, "2024-01-03"),
    "Cyrillic": ("Дата;Продажи\n01.01.2024;5,5\n02.01.2024;6\n".encode("cp1251"), {"Продажи": [5.5, 6]}, "2024-01-03"),
    "Chinese": ("日期,销量\n2024年1月1日,5\n2024年1月2日,6\n".encode("gb18030"), {"销量": [5, 6]}, "2024-01-03"),
    "apostrophes around cells": ("'date','n'\n'2024-01-01','1'\n'2024-01-02','2'\n", {"n": [1, 2]}, "2024-01-03"),
    "backslashes before quotes": (
        'date,"a \\"b\\" c"\n2024-01-01,1\n2024-01-02,2\n',
        {'a "b" c': [1, 2]},
        "2024-01-03",
    ),
    "pandas, two levels of names": (
        ",sales,sales\n,a,b\ndate,,\n2024-01-01,1,2\n2024-01-02,3,4\n",
        {"sales / a": [1, 3], "sales / b": [2, 4]},
        "2024-01-03",
    ),
    "a bank's rows": (
        '"Source","Indicators",\n\n"Updated","2024-05-30",\n\n"Country","Code","2019","2020","2021",\n'
        '"Spain","ESP","1","2","3",\n"France","FRA","5","6","7",\n',
        {"Spain": [1, 2, 3], "France": [5, 6, 7]},
        "2022",
    ),
    "a competition's rows": (
        '"V1","V2","V3","V4"\n"Y1","5172.1","5133.5",""\n"Y2","2070","21","23"\n',
        {"Y1": [5172.1, 5133.5], "Y2": [2070, 21, 23]},
        None,
    ),
    "values that could be months": (
        "date,n\n2024-01-01,1234.5\n2024-01-02,1250.1\n",
        {"n": [1234.5, 1250.1]},
        "2024-01-03",
    ),
    "numbers of rows as ids": (
        "id,date,family,sales\n0,2024-01-01,A,1\n1,2024-01-01,B,2\n2,2024-01-02,A,3\n3,2024-01-02,B,4\n",
        {"A": [1, 3], "B": [2, 4]},
        "2024-01-03",
    ),
    "months without a year": ("Month,n\nJanuary,1\nFebruary,2\nMarch,3\n", {"n": [1, 2, 3]}, None),
    "weeks without a year": ("t,n\nWeek 1,1\nWeek 2,2\nWeek 4,3\n", {"n": [1, 2, None, 3]}, None),
    "a log": (
        "time,n\n01/Jan/2024:00:00:00 +0000,1\n01/Jan/2024:01:00:00 +0000,2\n",
        {"n": [1, 2]},
        "2024-01-01T02:00:00+00:00",
    ),
    "cells of several lines": (
        'date,note,value\n2024-01-01,"a\nb",1\n2024-01-02,"a\nb",2\n',
        {"a\nb": [1, 2]},
        "2024-01-03",
    ),
    "years in merged cells above months": (
        ",2023,,,2024,,\nRegion,Oct,Nov,Dec,Jan,Feb,Mar\nNorth,1,2,3,4,5,6\nSouth,7,8,9,10,11,12\n",
        {"North": [1, 2, 3, 4, 5, 6], "South": [7, 8, 9, 10, 11, 12]},
        "2024-04",
    ),
    "groups in merged cells": (
        "Date,Sales,,Returns,\n,North,South,North,South\n2024-01-01,1,2,0,9\n2024-01-02,3,4,1,8\n",
        {"Sales / North": [1, 3], "Sales / South": [2, 4], "Returns / North": [0, 1], "Returns / South": [9, 8]},
        "2024-01-03",
    ),
    "flags of Eurostat": (
        "freq,unit,geo\\TIME_PERIOD,2023-01 ,2023-02 ,2023-03 \nM,PC,DE,1.5 ,2.0 p,: c\nM,PC,FR,1.1 ,1.2 ,1.3 b\n",
        {"M / PC / DE": [1.5, 2, None], "M / PC / FR": [1.1, 1.2, 1.3]},
        "2023-04",
    ),
    "a source below": (
        "Jahr;Monat;Index\n2023;November;114,3\n2023;Dezember;115,2\n2024;Januar;116,1\n2024;Februar;117\n2024;März;118\n"
        "__________\n© Amt; Stand heute\n",
        {"Index": [114.3, 115.2, 116.1, 117, 118]},
        "2024-04",
    ),
    "rows of codes": (
        '"Libellé";"2023-01";"2023-02";"2023-03"\n"Prix";"115,6";"116,8";"117,8"\n"Codes";"A";"A";"A"\n',
        {"Prix": [115.6, 116.8, 117.8]},
        "2023-04",
    ),
    "what a series is, below its name": (
        '"Title","CPIH"\n"CDID","L522"\n"Source","MM23"\n"Release date","15-05-2024"\n"2024 JAN","1"\n'
        '"2024 FEB","2"\n"2024 MAR","3"\n"2024 APR","4"\n',
        {"CPIH": [1, 2, 3, 4]},
        "2024-05",
    ),
    "Polish in Windows-1250": (
        "Miesiąc;Sprzedaż\nsty 2024;1 234,50 zł\nlut 2024;900,00 zł\n".encode("cp1250"),
        {"Sprzedaż": [1234.5, 900]},
        "2024-03",
    ),
    "decimal commas below a name": (
        "Umsatz\n1.234,5\n2.345,6\n3.456,7\n",
        {"Umsatz": [1234.5, 2345.6, 3456.7]},
        None,
    ),
    "powers of ten": ("t,v\n0,1.0E+3\n1,1.1E+3\n2,1.2E+3\n", {"v": [1000, 1100, 1200]}, None),
    "Unix times without names": (
        "1704067200.123 21.5\n1704067260.125 21.6\n1704067320.119 nan\n1704067380.122 21.9\n",
        {None: [21.5, 21.6, None, 21.9]},
        "2024-01-01T00:04:00.123000Z",
    ),
    "an epoch": ("epoch_ms,t\n1704067200000,1\n1704067260000,2\n", {"t": [1, 2]}, "2024-01-01T00:02:00Z"),
    "days of April, not fourths of months": (
        "Date,n\n01-04-2024,1\n02-04-2024,2\n03-04-2024,3\n",
        {"n": [1, 2, 3]},
        "2024-04-04",
    ),
    "columns of one name": ("date,K,K\n2024-01-01,1,2\n2024-01-02,3,4\n", {"K": [1, 3], "K (2)": [2, 4]}, "2024-01-03"),
    "SQL": (
        "INSERT INTO sales (day, qty) VALUES\n('2024-01-01', 5),\n('2024-01-02', NULL),\n('2024-01-03', 7);\n",
        {"qty": [5, None, 7]},
        "2024-01-04",
    ),
}


@pytest.mark.parametrize(("content", "expected", "first_ahead"), FILES.values(), ids=FILES)
def test_a_file_is_read_as_a_person_would(content: str | bytes, expected: Series, first_ahead: str | None) -> None:
    table = read(content)
    assert series(table) == expected
    assert following(table)[0] == first_ahead


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_of_programs(name: str) -> None:
    """What shops, meters, loggers, databases' consoles, statistics offices and spreadsheets write."""
    export = EXPORTS[name]
    table = read(export["text"])
    assert [[entry.item_id, entry.target] for entry in table.inputs] == [
        [entry["id"], entry["values"]] for entry in export["series"]
    ]
    assert following(table)[0] == export["first_ahead"]


def test_what_was_understood_is_told() -> None:
    reading = read(FILES["a German spreadsheet"][0]).reading
    assert (reading.layout, reading.rows, reading.series, reading.header) == ("long", 5, 2, True)
    assert (reading.id, reading.time, reading.value) == (["Filiale"], ["Datum"], ["Umsatz"])
    assert (reading.delimiter, reading.decimal, reading.thousands, reading.freq) == (";", ",", ".", "D")
    assert (reading.encoding, reading.date_order) == ("utf-8", "dmy")


@pytest.mark.parametrize(
    ("content", "note", "options", "value"),
    [
        ("date,v\n01/02/2024,1\n01/03/2024,2\n", "date_order=dmy", {"date_order": "dmy"}, "2024-04-01"),
        ("date;v\n01/02/2024;1\n01/03/2024;2\n", "date_order=mdy", {"date_order": "mdy"}, "2024-01-04"),
    ],
)
def test_dates_of_two_readings(content: str, note: str, options: dict[str, Any], value: str) -> None:
    assert note in " ".join(read(content).reading.notes)
    other = read(content, **options)
    assert following(other) == [value]
    assert other.reading.notes == []


def test_dates_in_one_order_only_need_no_note() -> None:
    assert read("date,v\n01/02/2024,1\n13/02/2024,2\n").reading.date_order == "dmy"
    assert read("date,v\n01/12/2024,1\n01/13/2024,2\n").reading.date_order == "mdy"
    ascending = read("date,v\n05/01/2024,1\n06/01/2024,2\n05/02/2024,2\n", freq="D").reading
    assert (ascending.date_order, ascending.notes) == ("dmy", [])


@pytest.mark.parametrize(
    ("content", "first", "note", "options", "other"),
    [
        ('date,v\n2024,"1,234"\n2025,"2,345"\n', 1234, "decimal=,", {"decimal": ","}, 1.234),
        ("date;v\n2024;1,234\n2025;2,345\n", 1.234, "decimal=.", {"decimal": "."}, 1234),
        ("date;v\n2024;1.234\n2025;999\n", 1234, "decimal=.", {"decimal": "."}, 1.234),
        ("1,5\n2,6\n3,7\n", 1, "delimiter=;", {"delimiter": ";", "decimal": ","}, 1.5),
        ("1,05\n2,25\n", 1.05, "delimiter=,", {"delimiter": ","}, 1),
    ],
)
def test_numbers_of_two_readings(content: str, first: float, note: str, options: dict[str, Any], other: float) -> None:
    table = read(content)
    assert table.inputs[0].target[0] == first
    assert note in " ".join(table.reading.notes)
    assert read(content, **options).inputs[0].target[0] == other


def test_covariates_are_named_as_left_out() -> None:
    table = read("ds,y,temp,promo\n2024-01-01,1,20,0\n2024-01-02,2,21,1\n")
    assert (series(table), table.reading.ignored_columns) == ({"y": [1, 2]}, ["temp", "promo"])
    assert "'temp', 'promo'" in table.reading.notes[0]
    assert series(read("ds,y,temp\n2024,1,20\n2025,2,21\n", value="temp,y")) == {"temp": [20, 21], "y": [1, 2]}


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("store,date,n\nA,2024-01-01,1\n,2024-01-02,2\nB,2024-01-01,3\n,2024-01-02,4\n", "names of groups"),
        ("date,n\n2024-01-01,1\ndate,n\n2024-01-02,2\n", "repeat the names of the columns"),
        ("date,n\n2024-01-01,5\n2024-01-02,-999\n2024-01-03,6\n", "-999 was read as a missing value; missing="),
        ("date,n\n2024-01-01,5\n2024-01-02,<1\n2024-01-03,6\n", "<1 were read as half"),
        ("date,n\n2024-01-01,1.5 K\n2024-01-02,1.6 K\n", "before K were multiplied by 1000"),
        ("d,line,n\n2024-01-01,1,5\n2024-01-01,2,6\n2024-01-02,1,5\n2024-01-02,2,6\n", "'line' was read as the id"),
        (
            "t,n\n2024-10-27 01:00,1\n2024-10-27 02:00,2\n2024-10-27 02:00,4\n2024-10-27 03:00,3\n",
            "the hour that comes twice on 2024-10-27",
        ),
        (
            "r,month,n\nN,2024-01,5\nN,2024-02,6\nN Total,,11\nS,2024-01,7\nS,2024-02,8\n",
            "line 4 was left out: it is a total",
        ),
        ("date,n\n2024-01-01,1.2K\n2024-01-02,900\n", "1.2K were multiplied by 1000"),
        ("date,n\n2024-01-01,$ 5\n2024-01-02,$ 6\n", "units were left out: $ of 'n'"),
        ("date,n\n2024-01-01,1\n2024-01-02,2\n,3\n", "line 4, the last one, was left out"),
        (
            "My shop;;\nby Ann;;\ndate;a;b\n2024-01-01;1;2\n2024-01-02;2;2\n",
            "above the table: lines 1, 2 ('My shop' …)",
        ),
        ("date,n\n# a gap\n2024-01-01,1\n2024-01-02,2\n", "left out as comments: line 2 ('# a gap')"),
        ("date,n\n,°C\n2024-01-01,1\n2024-01-02,2\n", "next to the names of columns: line 2 ('°C')"),
        ("date,n\n2024-01-01,1\n2024-01-02,2\nSource: us,\n", "below the table: line 4 ('Source: us')"),
        (",date,n\n0,2024-01-01,1\n1,2024-01-02,2\n", "left out, as numbers of rows: '1'"),
        ("date,n,remark\n2024-01-01,1,\n2024-01-02,2,\n", "left out, as without values: 'remark'"),
        ("id,d_1,d_2,d_3\nx,3,0,1\ny,2,2,\n", "empty cells at the end of a row"),
        ("Date,n\n01-04-2024,1\n02-04-2024,2\n03-04-2024,3\n", "date_order=mdy reads them otherwise"),
        ("epoch,n\n1704067200,1\n1704067260,2\n", "'epoch' was read as Unix times; time= (empty)"),
        ("INSERT INTO a VALUES (1);\nINSERT INTO a VALUES (2);\nINSERT INTO b VALUES (3);", "left out: those of b"),
        ("Month,n\nJanuary,1\nFebruary,2\n", "'Month' holds no times in a known writing ('January')"),
        ("Date,n\n45292,1\n45293,2\n", "a spreadsheet's days (2024-01-01)"),
        ("Date,HE,n\n2024-01-01,1,1\n2024-01-01,2,2\n", "hour 1 begins at midnight"),
        ("Produit,Jan-24,Feb-24,Mar-24\nA,1,2,3\nTotal,1,2,3\n", "left out as totals: line 3"),
        (
            "id,date,k,n\n0,2024-01-01,A,1\n1,2024-01-01,B,2\n2,2024-01-02,A,1\n3,2024-01-02,B,2\n",
            "each time or row has one of its own: 'id'",
        ),
    ],
)
def test_what_was_guessed_is_told(content: str, note: str) -> None:
    assert note in " ".join(read(content).reading.notes)


def test_what_is_missing_may_be_stated() -> None:
    content = "date,n\n2024-01-01,5\n2024-01-02,-999\n2024-01-03,closed\n2024-01-04,6\n2024-01-05,6\n2024-01-06,6\n"
    assert series(read(content, missing="-999,Closed")) == {"n": [5, None, None, 6, 6, 6]}
    assert series(read("date,n\n2024-01-01,5\n2024-01-02,-999\n", missing="")) == {"n": [5, -999]}
    assert series(read("date,n\n2024-01-01,-500\n2024-01-02,-999\n")) == {"n": [-500, -999]}


@pytest.mark.parametrize("days", ["2024-10-27", "2024-10-28"])
def test_a_time_that_comes_twice_is_an_hour_only_on_a_sunday_night(days: str) -> None:
    lines = [f"{days} {hour:02}:{minute:02},1\n" for hour in (1, 2, 2, 3) for minute in (0, 30)]
    if days == "2024-10-27":
        assert series(read("t,n\n" + "".join(lines))) == {"n": [1] * 6}
    else:
        assert "once more" in refusal("t,n\n" + "".join(lines)).detail
    assert "once more" in refusal("date,n\n2024-10-26,1\n2024-10-27,1\n2024-10-27,2\n2024-10-28,1\n").detail


def test_numbers_of_rows_of_one_time_are_no_ids() -> None:
    rows = "".join(f"2024-01-{1 + i // 2:02},{i * 7 % 23},{i}\n" for i in range(20))
    assert "once more" in refusal("date,orders,visitors\n" + rows).detail


def test_a_stated_encoding_decides() -> None:
    content = "Дата;Продажи\n01.01.2024;5\n02.01.2024;6\n".encode("koi8-r")
    assert series(read(content, encoding="koi8-r")) == {"Продажи": [5, 6]}
    assert "encoding is a name" in refusal(content, encoding="klingon").detail
    for no_charset in ("zlib", "punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined"):
        assert "encoding is a name" in refusal(content, encoding=no_charset).detail
    assert "byte 0 is no utf-8" in refusal(content, encoding="utf-8").detail


def test_the_query_names_columns() -> None:
    content = "when,a,b,c\n2024-01-01,x,5,7\n2024-01-02,x,6,8\n"
    assert series(read(content, id="a", value="C", time="when")) == {"x": [7, 8]}
    assert series(read(content, time="", value="b", id="a")) == {"x": [5, 6]}
    assert series(read("5,7\n6,8\n", value="2")) == {"2": [7, 8]} or series(read("5,7\n6,8\n", value="2")) == {
        None: [7, 8]
    }


def test_a_stated_header_decides() -> None:
    assert series(read("2020,2021\n1,2\n3,4\n", header=True)) == {"2020": [1, 3], "2021": [2, 4]}
    assert series(read("2020,2021\n1,2\n3,4\n")) == {"1": [2020, 1, 3], "2": [2021, 2, 4]}


def test_short_series_have_the_step_of_the_others() -> None:
    table = read("id,date,y\na,2024-01-01,1\na,2024-02-01,2\na,2024-03-01,3\nb,2024-03-01,9\n")
    assert following(table) == ["2024-04-01", "2024-04-01"]


def test_a_series_without_any_value_is_left_out_and_named() -> None:
    table = read("id,date,y\na,2024-01-01,1\na,2024-01-02,2\nb,2024-01-01,\nb,2024-01-02,NA\n")
    assert series(table) == {"a": [1, 2]}
    assert "'b'" in table.reading.notes[-1]


@pytest.mark.parametrize(
    ("content", "words", "pointer"),
    [
        ("date,value\n2024-01-01,1\n2024-01-02,abc\n2024-01-03,3\n2024-01-04,4\n2024-01-05,5\n2024-01-06,6\n",
         "line 3, column 2 (value), 'abc' is no number", "#cell=3,2"),
        ("# x\n\ndate,value\n2024-01-01,1\n\n2024-01-02,inf\n2024-01-03,3\n2024-01-04,4\n2024-01-05,5\n2024-01-06,6\n",
         "line 6, column 2 (value), 'inf' is no", "#cell=3,2"),
        ("date,value\n2024-01-01,1\n2024-01-02,2\n2024-01-02,3\n",
         "line 4 has the time of line 3 once more", "#cell=4,1"),
        ("date,value\n2024-01-01,1\n2024-01-03,2\n2024-01-02,3\n", "line 4 is earlier than line 3", "#cell=4,1"),
        ("date,value\n2024-01-01,1\nsoon,2\n2024-01-03,3\n2024-01-04,4\n2024-01-05,5\n2024-01-06,6\n",
         "line 3, column 1 (date), 'soon' is no time", "#cell=3,1"),
        ("item,2024-01,2024-02,2024-03\na,1,2,3\nb,4,inf,6\nc,1,1,1\nd,1,1,1\ne,1,1,1\nf,1,1,1\n",
         "line 3, column 3 (b), 'inf' is no", "#cell=3,3"),
        ("a,b\n1,2\n3,4,5\n6,7\n", "line 3 has 3 cells, the table 2 columns", "#row=3"),
        ("date,temp\n2024-01-01,20 °C\n2024-01-02,68 °F\n",
         "line 3, column 2 (temp), '68 °F' is in °F, the values before it in °C", "#cell=3,2"),
    ],
)  # fmt: skip
def test_a_fault_names_line_and_column_and_shows_the_cell(content: str, words: str, pointer: str) -> None:
    error = refusal(content)
    assert words in error.detail
    assert (error.code, error.errors[0].pointer) == ("bad_table", pointer)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04...", "Excel workbook"),
        (b"PAR1...", "Parquet"),
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"a,b\n", "no rows"),
        (b",,,\n,,,\n", "empty"),
        (b'""\n""\n', "empty"),
        (b"," * 200_000 + b"\n1\n", "field larger"),
        (b"a\x00b", "binary"),
        (b"\xff\xfea", "utf-16"),
        (b"name,colour\na,red\nb,blue\n", "no column holds numbers"),
        (b"date,open\n2024-01-01,TRUE\n", "line 2, column 2 (open), 'TRUE' is no number"),
        (b'a,b\n"1,2\n3,4\n', "line 2"),
        (b"1, two", "'two' is no number"),
        (b'{"date": "2024-01-01", "v": 1}', "JSON"),
        (b"<!doctype html><table>", "HTML"),
        (b"id,v\na,\na,NA\n", "no column holds numbers"),
    ],
)
def test_what_is_no_table(content: bytes, words: str) -> None:
    error = refusal(content)
    assert words in error.detail
    assert error.code == "bad_table"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"value": "vale"}, "did you mean 'value'"),
        ({"id": "nobody"}, "no column 'nobody' among date, value"),
        ({"freq": "SM"}, "freq is no frequency"),
        ({"delimiter": "abc"}, "delimiter is one character"),
        ({"quantile_levels": "0.1,x"}, "numbers between 0 and 1"),
        ({"quantile_levels": "1.5"}, "numbers between 0 and 1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    assert words in refusal("date,value\n2024-01-01,1\n2024-01-02,2\n", **options).detail


def test_a_gap_beyond_the_limit_is_refused() -> None:
    error = refusal("date,value\n2000-01-01,1\n2000-01-02,2\n2024-01-03,3\n", freq="D")
    assert (error.code, error.errors[0].pointer) == ("series_too_long", "#cell=4,1")


@pytest.mark.parametrize("separator", [",", " ", ";", "\t"])
def test_a_line_may_be_longer_than_a_cell(separator: str) -> None:
    numbers = [float(number % 37) for number in range(70_000)]
    line = separator.join(f"{number:.0f}" for number in numbers)
    assert series(read_csv(line.encode(), TableOptions(), Limits(100_000))) == {None: numbers}


def test_a_cell_that_is_too_long_is_refused() -> None:
    error = refusal("a,b\n1," + "9" * 140_000 + "\n")
    assert (error.code, error.errors[0].pointer) == ("bad_table", "#row=2")


def test_a_cell_is_shown_cut_and_harmless() -> None:
    error = refusal("v\n1\n2\n3\n4\n5\n6\n" + "\x1b[31m" + "x" * 100 + "\n")
    assert "\x1b" not in error.detail
    assert len(error.detail) < 120


def test_options_are_those_of_a_request() -> None:
    parameters = parameters_of(TableOptions(prediction_length=3, quantile_levels="0.9, 0.5", season_length=7))
    assert (parameters.prediction_length, parameters.quantile_levels, parameters.season_length) == (3, [0.9, 0.5], 7)


def test_the_number_of_columns_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.codec.tables.reader.MAX_COLUMNS", 100)
    for words in (99, 100, 101):
        assert ("at most 100 columns" in refusal(" ".join(["a"] * words)).detail) == (words > 100)


def test_series_in_rows_and_numbers_in_a_line_may_be_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.codec.tables.reader.MAX_COLUMNS", 100)
    in_rows = "name,2024-01-01,2024-01-02,2024-01-03\n" + "".join(f"s{number},1,2,3\n" for number in range(101))
    assert len(read(in_rows).inputs) == 101
    assert len(read(",".join(["1"] * 101)).inputs[0].target) == 101


def wide(columns: int) -> str:
    rows = "".join(f"2024-01-{day:02}{',1' * columns}\n" for day in range(1, 13))
    return f"date,{','.join(f'c{number}' for number in range(columns))}\n{rows}"


def months_by_years(rows: int) -> str:
    """A series in each row: their numbers look like years."""
    body = "".join(f"{year}{',1' * 12}\n" for year in range(1000, 1000 + rows))
    return f"year,{','.join(map(str, range(1, 13)))}\n{body}"


def halves_without_values(series: int) -> str:
    times = ("2024-01-01", "2024-01-02")
    rows = "".join(f"s{number},{time},{'1' if number % 2 else ''}\n" for number in range(series) for time in times)
    return f"id,date,y\n{rows}"


@pytest.mark.parametrize("table", [wide, months_by_years, halves_without_values])
def test_the_work_for_a_table_grows_with_its_size_not_with_its_square(table: Callable[[int], str]) -> None:
    def seconds(size: int) -> float:
        content = table(size).encode()
        began = time.thread_time()
        read_csv(content, TableOptions(), Limits(1_000_000))
        return time.thread_time() - began

    seconds(10)  # compiles expressions
    few, many = min(seconds(200) for _ in range(3)), seconds(200 * 16)
    assert many < 50 * few  # by the square: 256 times


BLANKS = " " * 20_000
DAYS = "".join(f"2024-01-{day:02},{day}\n" for day in range(1, 10))


@pytest.mark.parametrize(
    "content",
    [
        f"date,value\n{DAYS}1{BLANKS}x,3\n",
        f"date,value\n{DAYS}1{BLANKS}:,3\n",
        f"date,value\n{DAYS}{'a' * 20_000}1,3\n",
        f"step,value\nWeek 1,1\nWeek 2,2\nWeek{BLANKS}x,3\nWeek 4,2\n",
        f"date,time,value\n2024-01-01,10:00,1\n2024-01-02,10:00{BLANKS}x,2\n2024-01-03,10:00,2\n",
        f"{'-' * 40_000}x\n1\n2\n",
        f"x = c(1,{BLANKS}a ]",
        f"INSERT INTO a{BLANKS}x",
        f"CREATE TABLE a{BLANKS}x\nINSERT INTO a VALUES (1),(2)",
        "Year," + ",".join(["Jan", "Feb", "Mar"] * 600) + "\n" + "2020," + ",".join(["1"] * 1800),
        b"a,b\n" + b"a" * 50_000 + b"\xd7,1\n2,3\n",  # of no encoding that is found, and without a letter of another
        "INSERT INTO a VALUES (1\n" * 3000,
        "INSERT INTO a VALUES (1,2),(3,4)\n,(5\n" * 2000,
        "INSERT INTO a VALUES (\\'\n" * 5000,
        "COPY a FROM stdin;\n" * 5000,
        "date,value\n" + "".join(f"2024-01-01 10:00{' ' * 75}x{row},1\n" for row in range(500)),
        "date,value\n2024-01-01 00:00,1\n" + "2024-10-27 02:00,1\n" * 3000,
    ],
    ids=range(17),
)
def test_no_text_takes_the_square_of_its_length(content: str | bytes) -> None:
    """Each of them took from seconds to minutes, in which a pattern held up every other client of the process."""
    start = time.process_time()
    with contextlib.suppress(InvalidRequest):
        read(content)
    assert time.process_time() - start < 1.0


ODD_DIGITS = ("\u00b2", "1\u00b2", "\u2460", "\u0663", "9" * 5000)


@pytest.mark.parametrize("options", [{}, {"time": ""}, {"time": "1"}, {"header": False}], ids=str)
@pytest.mark.parametrize("digits", ODD_DIGITS, ids=lambda digits: digits[:4])
@pytest.mark.parametrize(
    "table",
    [
        "id,{0},d_2,d_3,d_4\na,1,2,3,4\nb,1,2,3,4\n",
        "x,v\n{0},1\n" + "".join(f"{row},{row}\n" for row in range(20)),
        "year,month,v\n{0},1,4\n" + "".join(f"2020,{row + 1},{row}\n" for row in range(12)),
        "{0},2\n1,2\n" * 3,
        "week,v\n{0},3\n" * 3,
        "{0}\t{0}\n" * 3,
    ],
)
def test_digits_that_python_makes_no_number_of_are_read_or_refused(table: str, digits: str, options: Any) -> None:
    """Some were a `ValueError`: what `str.isdigit` takes for digits, `int` does not, nor more than 4,300 of them."""
    with contextlib.suppress(InvalidRequest):
        read(table.format(digits), **options)


@pytest.mark.parametrize(
    "content",
    [
        "date," + ",".join(f"c{column}" for column in range(5000)) + "\n" + f"{DAYS.strip()},1\n" * 3000,
        "date,v\n" + "2024-01-01,1\n" * 900 + "2025," + "1," * 20_000 + "1\n",
        ",".join(f"2024-01-{day % 28 + 1:02}" for day in range(5000)) + "\n" + "a,1\n" * 3000,
    ],
    ids=["names", "a row", "dates"],
)
def test_one_wide_row_is_not_paid_for_in_all_others(content: str) -> None:
    start = time.process_time()
    error = refusal(content)
    assert time.process_time() - start < 0.5
    assert "rows have as many cells as the table has columns" in error.detail


def test_a_cell_that_is_no_date_is_named_however_long_it_is() -> None:
    assert "is no time" in refusal(f"date,value\n{DAYS}1{BLANKS}x,3\n").detail


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("x = c(1,2,\n   3 );", [1, 2, 3]),
        ("[ 1, 2, 3, ]\n", [1, 2, 3]),
        ("(4 5 6)", [4, 5, 6]),
        ("values <- [1;2]", None),
    ],
)
def test_the_list_of_a_program(content: str, values: list[float] | None) -> None:
    if values is None:
        refusal(content)
    else:
        assert list(series(read(content)).values()) == [values]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("2020.0,1,1,5\n2020.0,1,2,6\n2020.0,2,2,6\n", {}),
        (",,1,5\n2020,1,1,5\n2020,2,1,6\n", {"header": False}),
        ("2020,1,1,5\n2020,,1,6\n2020,2,3,6\n", {"header": False}),
    ],
    ids=["years with a point", "no first year", "no second month"],
)
def test_a_table_without_names_that_begins_with_odd_years_is_no_fault(content: str, options: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        read(content, **options)


def test_a_column_that_is_stated_twice_is_read_once() -> None:
    assert series(read("date,a,b\n2024-01-01,1,2\n2024-01-02,3,4\n", value="a,a")) == {"a": [1, 3]}


def test_names_that_are_compared_with_a_misspelt_one_are_few_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def nothing_near(_: str, names: Sequence[str], **__: Any) -> list[str]:
        compared.extend(names)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", nothing_near)
    header = ",".join(["x" * 500, *(f"column{number}" for number in range(3000))])
    refusal(f"{header}\n" + "1," * 3000 + "1\n", value="colum1")
    assert len(compared) <= 1000
    assert max(map(len, compared)) <= 100
    compared.clear()
    refusal(f"{header}\n" + "1," * 3000 + "1\n", value="c" * 500)
    assert compared == []


def test_plain_numbers_are_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(NumberFormat, "parse", lambda self, text: parsed.append(text))
    assert series(read("date,a,b\n2024-01-01,1,2\n2024-01-02,3,4\n")) == {"a": [1, 3], "b": [2, 4]}
    assert parsed == []


@pytest.mark.parametrize("word", ["Köln", "Größe", "é", "señor", "Año"])
def test_the_note_on_an_encoding_shows_a_whole_word(word: str) -> None:
    table = read(f"where,value\nA {word} b,1\nA {word} b,2\n".encode("cp1252"))
    assert f"letters such as in '{word}' were read as windows-1252" in " ".join(table.reading.notes)
