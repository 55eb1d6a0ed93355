"""Files in base64 text, in every form in which people send them.

Read are the standard alphabet and the one for addresses (RFC 4648, 4 and 5), with or without padding and line breaks,
percent-encoded, as a data URL (RFC 2397) of any type, and with the blanks that a form makes of `+`.
"""

from __future__ import annotations

import binascii
import re
from urllib.parse import unquote, unquote_to_bytes

_DATA_URL = re.compile(r"\s*data:([^,]{0,200}),", re.IGNORECASE)
_LINE_BREAKS = re.compile(r"[\r\n\t]+")
_TO_STANDARD = str.maketrans("-_ ", "+/+")


def decode_base64(text: str) -> bytes:
    """The file in `text`; raises `ValueError` that says what is wrong with it."""
    header = _DATA_URL.match(text)
    if header is not None:
        text = text[header.end() :]
        if "base64" not in header[1].lower():
            return unquote_to_bytes(text)
    if "%" in text:
        text = unquote(text)
    # The usual case needs no change, and changing megabytes of text takes milliseconds.
    try:
        if text:
            return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    text = _in_one_line(text.strip().strip("\"'")).translate(_TO_STANDARD).rstrip("=")
    try:
        if not text:
            raise ValueError
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(_fault(text)) from error


def _in_one_line(text: str) -> str:
    """`text` without line breaks and the blanks around them."""
    first, *lines = _LINE_BREAKS.split(text)
    if not lines:
        return first
    return "".join((first.rstrip(" "), *(line.strip(" ") for line in lines[:-1]), lines[-1].lstrip(" ")))


def _fault(text: str) -> str:
    """What is wrong with base64 `text`, line breaks and padding taken away."""
    if not text:
        return "an empty text"
    if re.match(r"https?:", text):
        return "a web address, which is not fetched: send the file itself in base64"
    if stray := re.search(r"[^A-Za-z0-9+/]", text):
        return f"not base64: character {stray.start() + 1} is none of its letters"
    return "not base64: it is cut, as its length shows"
