"""Imports point one way. Every test here names the arrow that points the wrong way, by file and line.

The table is the map of the house: a new module is added to it with what it may import, or the test says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

CONTRACT = {"service.errors", "service.items", "service.manifest"}

# module (or package, ending in a dot: all its modules) -> what it may import of this project; leaves first
MAY_IMPORT: dict[str, set[str]] = {
    "service": set(),
    "service.acceptor": set(),
    "service.cpus": set(),
    "service.counters": set(),
    "service.crew": set(),
    "service.errors": set(),
    "service.items": set(),
    "service.logs": set(),
    "service.metrics": {"service.counters"},
    "service.packing": set(),
    "service.shares": set(),
    "service.settings": set(),
    "service.manifest": {"service.errors"},
    "service.documents": {"service.errors"},
    # an image's bytes to one plane, that to ink on paper, its marks, the digit among them
    "service.ink": set(),
    "service.edges": {"service.ink"},
    "service.parts": set(),
    "service.pictures": {"service.errors", "service.ink"},
    "service.images": {"service.edges", "service.errors", "service.ink", "service.parts", "service.pictures"},
    "service.tokens": CONTRACT | {"service.documents"},
    # the two wires: a request's bytes to items, results to bytes
    "service.series": CONTRACT | {"service.documents", "service.settings", "service.tokens"},
    "service.digits": CONTRACT
    | {"service.documents", "service.images", "service.series", "service.settings", "service.tokens"},
    # the engine: what runs a network, what gathers work for it, what is on disk, what is loaded
    "service.golden": CONTRACT,
    "service.cursor": {"service.packing"},
    "service.passes": CONTRACT | {"service.cursor", "service.packing"},
    "service.readings": CONTRACT | {"service.cursor", "service.packing", "service.passes"},
    "service.warmup": CONTRACT | {"service.packing", "service.passes"},
    "service.backend": CONTRACT
    | {
        "service.cpus",
        "service.cursor",
        "service.golden",
        "service.packing",
        "service.passes",
        "service.readings",
        "service.shares",
        "service.warmup",
    },
    "service.lanes": {"service.errors"},
    "service.batch": {"service.lanes"},
    "service.batching": {"service.batch", "service.errors", "service.lanes"},
    "service.repository": CONTRACT,
    "service.memory": set(),
    "service.coverage": {"service.items", "service.metrics"},
    "service.registry": CONTRACT
    | {
        "service.coverage",
        "service.memory",
        "service.repository",
        "service.shares",
        "service.backend",
        "service.cursor",
        "service.packing",
        "service.passes",
        "service.batching",
        "service.lanes",
        "service.metrics",
    },
    # HTTP
    "service.api.": CONTRACT
    | {
        "service.registry",
        "service.series",
        "service.digits",
        "service.documents",
        "service.settings",
        "service.counters",
        "service.metrics",
        "service.tokens",
        "service.crew",
        "service.api.",
    },
    "service.app": {"service."},
    "service.server": {
        "service.acceptor",
        "service.api.streams",
        "service.app",
        "service.crew",
        "service.logs",
        "service.protocol",
        "service.registry",
        "service.settings",
    },
    "service.protocol": {"service.api.edge"},
    "service.workers": {"service.crew", "service.logs", "service.metrics", "service.server", "service.settings"},
    "service.__main__": {"service."},
    "training.networks.": {"training.networks."},
    "training.scores": set(),
    "training.": {"training.", "service.backend"} | CONTRACT,
}

# package -> the only modules of service/ and training/ that may import it
ONLY_IN: dict[str, set[str]] = {
    "fastapi": {"service.app", "service.api."},
    "starlette": {"service.app", "service.api."},
    "uvicorn": {"service.protocol", "service.server", "service.workers"},
    "torch": {"service.backend", "training."},
    "torch.jit": {"service.backend", "training.export"},
}

# What TorchScript needs beside a method's definition: these mark, they do not compile, save or load.
JIT_MARKS = {"torch.jit." + mark for mark in ("Final", "annotate", "export", "ignore", "is_scripting", "unused")}


@dataclass(frozen=True)
class Use:
    """Module `name` is imported, or an attribute of that dotted name is used, at `path:line` by `module`."""

    module: str
    name: str
    where: str


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file of every module under service/ and training/."""
    files = [path for package in ("service", "training") for path in sorted((root / package).rglob("*.py"))]
    return {dotted(path.relative_to(root)): path for path in files}


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """(local name, dotted name) of each thing an import statement brings in; this project has no relative imports."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"
        else:
            yield (
                alias.asname or alias.name.partition(".")[0],
                (alias.name if alias.asname else alias.name.partition(".")[0]),
            )


def uses(root: Path) -> list[Use]:
    """Every import of every module, wherever it stands, and every attribute reached through an imported name."""
    found: list[Use] = []
    for module, path in modules(root).items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                where = f"{path.relative_to(root)}:{node.lineno}"
                names.update(imported(node))
                plain = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                found += [Use(module, name, where) for name in plain or [full for _, full in imported(node)]]
        attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        inner = {id(node.value) for node in attributes}  # of a.b.c, only the whole counts
        found += [
            Use(module, name, f"{path.relative_to(root)}:{node.lineno}")
            for node in attributes
            if id(node) not in inner and (name := chain(node, names))
        ]
    return found


def chain(node: ast.Attribute, names: Mapping[str, str]) -> str | None:
    """`torch.jit.script` for that expression, through whatever name torch was imported by; None for other objects."""
    if isinstance(node.value, ast.Attribute):
        inner = chain(node.value, names)
        return f"{inner}.{node.attr}" if inner else None
    if isinstance(node.value, ast.Name) and node.value.id in names:
        return f"{names[node.value.id]}.{node.attr}"
    return None


def matches(name: str, pattern: str) -> bool:
    """`a.b` matches itself only; `a.` matches `a` and everything below it."""
    return name == pattern or (pattern.endswith(".") and f"{name}.".startswith(pattern))


def target(name: str, known: Mapping[str, Path]) -> str | None:
    """The module of this project that `name` (a module, or something in one) belongs to."""
    while name:
        if name in known:
            return name
        name = name.rpartition(".")[0]
    return None


def allowed(module: str) -> set[str] | None:
    """What the table lets `module` import; the entry that names it best counts."""
    fitting = [key for key in MAY_IMPORT if matches(module, key)]
    return MAY_IMPORT[max(fitting, key=len)] if fitting else None


def arrows(root: Path) -> dict[str, dict[str, str]]:
    """module -> module of this project that it imports -> where."""
    known = modules(root)
    graph: dict[str, dict[str, str]] = {module: {} for module in known}
    for use in uses(root):
        to = target(use.name, known)
        if to and to != use.module:
            graph[use.module].setdefault(to, use.where)
    return graph


def wrong_arrows(root: Path) -> list[str]:
    """Arrows the table does not have, and modules it does not know."""
    wrong: list[str] = []
    for module, targets in arrows(root).items():
        may = allowed(module)
        if may is None:
            wrong.append(f"{module} is not in the table of tests/test_architecture.py: say there what it may import")
            continue
        # A package's own __init__ holds no code that could be reached through it: importing it is no arrow.
        wrong += [
            f"{where}: {module} must not import {to}"
            for to, where in targets.items()
            if to not in ("service", "training") and not any(matches(to, pattern) for pattern in may)
        ]
    return wrong


def wrong_packages(root: Path) -> list[str]:
    """Web framework, torch and TorchScript outside the few modules that may know them."""
    wrong: list[str] = []
    for use in uses(root):
        marks = use.name in JIT_MARKS and use.module.startswith("training.networks")
        for package, homes in ONLY_IN.items():
            home = any(matches(use.module, pattern) for pattern in homes)
            if not marks and not home and matches(use.name, package + "."):
                wrong.append(f"{use.where}: {use.module} must not use {use.name}; {package} belongs to {sorted(homes)}")
    return wrong


def cycles(root: Path) -> list[str]:
    """Circles of imports, each as `a -> b -> a`."""
    graph = arrows(root)
    found: list[str] = []
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            found.append(" -> ".join((*path[path.index(module) :], module)))
        elif module not in done:
            for to in graph[module]:
                visit(to, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    return found


def without_docstring(root: Path) -> list[str]:
    return [
        str(path.relative_to(root))
        for path in modules(root).values()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]


def test_imports_follow_the_table() -> None:
    assert wrong_arrows(ROOT) == []


def test_web_framework_and_torch_stay_at_home() -> None:
    assert wrong_packages(ROOT) == []


def test_no_import_cycles() -> None:
    assert cycles(ROOT) == []


def test_every_module_says_what_it_is() -> None:
    assert without_docstring(ROOT) == []


# --- the checks themselves can fail ----------------------------------------------------------------------------------


def house(root: Path, **files: str) -> Path:
    """A small tree: `service__api__fast` becomes service/api/fast.py."""
    for name, text in files.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("module", "statement", "to"),
    [
        ("service__series", "import training.loop", "training.loop"),
        ("service__series", "from training import loop", "training.loop"),
        ("service__series", "def f():\n    from training.loop import fit", "training.loop"),
        ("service__series", "import service\nservice.app.create_app", "service.app"),
        ("service__errors", "from service.series import pack", "service.series"),
        ("service__batching", "from service import series", "service.series"),
        ("service__api__fast", "from service.app import create_app", "service.app"),
        ("training__loop", "from service.app import create_app", "service.app"),
        ("training__networks__digits", "from training.loop import fit", "training.loop"),
    ],
)
def test_a_wrong_arrow_is_named(tmp_path: Path, module: str, statement: str, to: str) -> None:
    others = {"service__app": "", "service__series": "", "training__loop": ""}
    root = house(tmp_path, **{**others, module: statement})
    [line] = wrong_arrows(root)
    assert line.endswith(f"must not import {to}")
    assert line.startswith(module.replace("__", "/") + ".py:")


def test_an_unknown_module_is_named(tmp_path: Path) -> None:
    [line] = wrong_arrows(house(tmp_path, service__helpers=""))
    assert line.startswith("service.helpers is not in the table")


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("service__series", "from fastapi import Request"),
        ("service__registry", "import starlette.requests"),
        ("service__registry", "import torch"),
        ("service__api__fast", "from torch import Tensor"),
        ("training__loop", "import fastapi"),
        ("training__loop", "from torch import jit"),
        ("training__loop", "import torch.jit"),
        ("training__loop", "import torch\ntorch.jit.script(f)"),
        ("training__loop", "import torch as t\nt.jit.load(f)"),
        ("training__loop", "import torch\njit = torch.jit"),
        ("training__networks__digits", "import torch\ntorch.jit.script(f)"),
        ("training__loop", "import torch\n@torch.jit.export\ndef f(): ..."),
    ],
)
def test_a_package_away_from_home_is_named(tmp_path: Path, module: str, statement: str) -> None:
    wrong = wrong_packages(house(tmp_path, **{module: statement}))
    assert wrong
    assert all(line.startswith(module.replace("__", "/") + ".py:") for line in wrong)


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("service__api__fast", "from starlette.requests import Request"),
        ("service__backend", "import torch\ntorch.jit.load(f)"),
        ("training__export", "import torch\ntorch.jit.script(f)"),
        ("training__networks__digits", "import torch\n@torch.jit.export\ndef f(): ..."),
    ],
)
def test_a_package_at_home_is_not(tmp_path: Path, module: str, statement: str) -> None:
    assert wrong_packages(house(tmp_path, **{module: statement})) == []


def test_a_cycle_is_named(tmp_path: Path) -> None:
    root = house(
        tmp_path,
        service__errors="import service.items",
        service__items="def f():\n    from service import manifest",
        service__manifest="from service.errors import RitmoError",
    )
    assert cycles(root) == ["service.errors -> service.items -> service.manifest -> service.errors"]


def test_a_missing_docstring_is_named(tmp_path: Path) -> None:
    assert without_docstring(house(tmp_path, service__errors="x = 1", service__items='"""Says what."""')) == [
        "service/errors.py"
    ]
