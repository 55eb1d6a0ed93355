from __future__ import annotations

import base64
import random
import time
import urllib.parse
from collections.abc import Callable

import pytest

from service.codec.base64_files import decode_base64

FORMS: dict[str, Callable[[str], str]] = {
    "standard": lambda text: text,
    "a line break at the end": lambda text: text + "\n",
    "lines": lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
    "indented lines": lambda text: "\n  ".join(text[at : at + 64] for at in range(0, len(text), 64)),
    "for addresses": lambda text: text.replace("+", "-").replace("/", "_"),
    "plus made blank by a form": lambda text: text.replace("+", " "),
    "without padding": lambda text: text.rstrip("="),
    "percent-encoded": lambda text: urllib.parse.quote(text, safe=""),
    "in quotes": lambda text: f'"{text}"',
    "data URL": lambda text: "data:image/png;base64," + text,
    "data URL with parameters": lambda text: "DATA:image/png;charset=utf-8;name=a.png;BASE64," + text,
    "data URL without a type": lambda text: "data:;base64," + text,
    "data URL of a file": lambda text: "data:application/octet-stream;base64," + text,
    "data URL in percent": lambda text: "data:image/png," + urllib.parse.quote(base64.b64decode(text)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", [1, 2, 3, 1000])
def test_every_form_decodes(form: str, length: int) -> None:
    content = random.Random(length).randbytes(length)
    assert decode_base64(FORMS[form](base64.b64encode(content).decode())) == content


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not base64!", "character 11"),
        ("https://x.org/a.png", "web address"),
        ("é", "character 1"),
        ("abcde", "cut"),
        ("  ", "empty"),
        ('""', "empty"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decode_base64(text)


@pytest.mark.parametrize("unit", [" ", "\t", " \t", "a "])
def test_blanks_do_not_take_the_square_of_their_number(unit: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match="base64"):
        decode_base64("iVBO" + unit * 100_000 + "!")
    assert time.process_time() - start < 1.0
