"""Recorded answers: `python -m tests.wire.record` writes `answers.json`, which `test_answers.py` compares with.

With `--raw FILE` the bytes of all answers are written instead, and `--compare FILE` tells in which cases this checkout
answers with other bytes; both have to run on one machine, as the last bits of numbers differ between processors.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.wire.cases import CASES
from tests.wire.client import Answer, readable, servers

ANSWERS = Path(__file__).with_name("answers.json")
_AROUND = 60  # bytes before and after the first one that differs


def main(arguments: Sequence[str] | None = None) -> int:
    """Record or compare; the exit status is 1 where bytes differ."""
    parser = argparse.ArgumentParser(prog="python -m tests.wire.record", description=__doc__.splitlines()[0])
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--raw", type=Path, metavar="FILE", help="write the bytes of all answers to FILE")
    chosen.add_argument("--compare", type=Path, metavar="FILE", help="compare the bytes of all answers with FILE")
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder) / "models") as both:
        answers = {case.name: both.ask(case) for case in CASES}
    if options.compare is not None:
        return _compare(json.loads(options.compare.read_text("utf-8")), {name: _raw(answers[name]) for name in answers})
    if options.raw is not None:
        _write(options.raw, {name: _raw(given) for name, given in answers.items()})
    else:
        _write(ANSWERS, {name: [readable(answer) for answer in given] for name, given in answers.items()})
    print(f"{len(answers)} cases")
    return 0


def _write(file: Path, document: dict[str, Any]) -> None:
    """One line for each case."""
    lines = [
        f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}"
        for name, value in document.items()
    ]
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def _raw(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """All of `answers`; of metrics, whose values are about this very run, what `readable` keeps."""
    told = []
    for answer in answers:
        bodies = answer.bodies
        if any(name.lower() == "content-type" and value.startswith("text/plain") for name, value in answer.headers):
            bodies = ["\n".join(readable(answer)["text"]).encode()]
        told.append(
            {
                "status": answer.status,
                "headers": [list(header) for header in answer.headers],
                "bodies": [base64.b64encode(body).decode() for body in bodies],
                "closed": None if answer.closed is None else list(answer.closed),
            }
        )
    return told


def _compare(before: dict[str, Any], now: dict[str, Any]) -> int:
    differing = 0
    for name in [*before, *(name for name in now if name not in before)]:
        found = _difference(before.get(name), now.get(name))
        if found:
            differing += 1
            print(f"{name}: {found}")
    print(f"{len(now)} cases, {differing} of them differ")
    return 1 if differing else 0


def _difference(before: list[dict[str, Any]] | None, now: list[dict[str, Any]] | None) -> str:
    """The first thing that differs, or nothing."""
    if before is None or now is None:
        return "there is no such case " + ("before" if before is None else "now")
    if len(before) != len(now):
        return f"{len(before)} exchanges before, {len(now)} now"
    for place, (old, new) in enumerate(zip(before, now, strict=True)):
        for part in ("status", "headers", "closed"):
            if old[part] != new[part]:
                return f"exchange {place}, {part}: {old[part]} before, {new[part]} now"
        if len(old["bodies"]) != len(new["bodies"]):
            return f"exchange {place}: {len(old['bodies'])} messages before, {len(new['bodies'])} now"
        for number, (one, other) in enumerate(zip(old["bodies"], new["bodies"], strict=True)):
            if one != other:
                return f"exchange {place}, body {number}: {_excerpts(base64.b64decode(one), base64.b64decode(other))}"
    return ""


def _excerpts(before: bytes, now: bytes) -> str:
    shorter = min(len(before), len(now))
    first = next((place for place in range(shorter) if before[place] != now[place]), shorter)
    part = slice(max(0, first - _AROUND), first + _AROUND)
    return f"from byte {first}\n    before {before[part]!r}\n    now    {now[part]!r}"


if __name__ == "__main__":
    sys.exit(main())
