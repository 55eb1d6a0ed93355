"""Imports point one way: each test here names the wrong arrow by file and line.

The table is the map of the project: it says for each package what it may import, and docs/architecture.md shows it.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Floors of `service`, from the ground up: a package imports only from floors below its own, as far as the table says.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("service.contract", "service.metrics", "service.runtime", "service.settings"),
    ("service.backend", "service.batching", "service.imaging"),
    ("service.authoring", "service.codec", "service.registry"),
    ("service.api",),
    ("service.server",),
    ("service.__main__",),
)

# The same for `training`; its __main__ imports the module of one command by name.
TRAINING_FLOORS: tuple[tuple[str, ...], ...] = (
    ("training.folders", "training.networks"),
    ("training.data", "training.fit"),
    ("training.evaluation",),
    ("training.digits", "training.forecaster", "training.sines", "training.tutorials"),
    ("training.finetuning", "training.reports"),
)

# package, or module in no package -> the packages of this project that it may import
MAY_IMPORT: dict[str, set[str]] = {
    "service.settings": set(),
    "service.contract": set(),
    "service.metrics": set(),
    "service.runtime": set(),
    "service.imaging": {"service.contract"},
    "service.backend": {"service.contract", "service.runtime"},
    "service.batching": {"service.contract", "service.runtime"},
    "service.codec": {"service.contract", "service.imaging", "service.runtime", "service.settings"},
    "service.registry": {
        "service.backend",
        "service.batching",
        "service.contract",
        "service.metrics",
        "service.runtime",
        "service.settings",
    },
    "service.api": {
        "service.codec",
        "service.contract",
        "service.metrics",
        "service.registry",
        "service.runtime",
        "service.settings",
    },
    "service.server": {
        "service.api",
        "service.contract",
        "service.metrics",
        "service.registry",
        "service.runtime",
        "service.settings",
    },
    "service.authoring": {"service.backend", "service.contract", "service.runtime"},
    "service.__main__": {
        "service.api",
        "service.authoring",
        "service.codec",
        "service.runtime",
        "service.server",
        "service.settings",
    },
    "training.folders": set(),
    "training.networks": set(),
    "training.data": {"training.folders"},
    "training.fit": {"service.contract", "training.folders"},
    "training.evaluation": {"service.backend", "service.contract", "training.data", "training.folders"},
    "training.digits": {
        "service.backend",
        "service.contract",
        "training.data",
        "training.evaluation",
        "training.fit",
        "training.networks",
    },
    "training.forecaster": {
        "service.contract",
        "training.data",
        "training.evaluation",
        "training.fit",
        "training.networks",
    },
    "training.sines": {
        "service.contract",
        "training.data",
        "training.evaluation",
        "training.fit",
        "training.networks",
    },
    "training.tutorials": {
        "service.backend",
        "service.contract",
        "training.data",
        "training.evaluation",
        "training.fit",
        "training.folders",
        "training.networks",
    },
    "training.finetuning": {
        "service.backend",
        "service.codec",
        "service.contract",
        "service.imaging",
        "training.data",
        "training.digits",
        "training.evaluation",
        "training.fit",
        "training.forecaster",
        "training.networks",
    },
    "training.reports": {
        "service.backend",
        "service.contract",
        "training.data",
        "training.evaluation",
        "training.fit",
        "training.folders",
        "training.tutorials",
    },
    "training.__main__": {"training."},
}

# library -> the only packages and modules of service/ and training/ that may import it
ONLY_IN: dict[str, set[str]] = {
    "fastapi": {"service.api."},
    "starlette": {"service.api."},
    "uvicorn": {"service.server."},
    "torch": {"service.backend.", "training."},
    "torch.jit": {"service.backend.torchscript", "training.fit.export"},
}

# What TorchScript needs in addition to a method's definition: these mark, they do not compile, save or load.
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
    return [
        use
        for module, path in modules(root).items()
        for use in uses_in(module, str(path.relative_to(root)), path.read_text(encoding="utf-8"))
    ]


@functools.cache
def uses_in(module: str, file: str, text: str) -> list[Use]:
    """Those of one module."""
    result: list[Use] = []
    tree = ast.parse(text)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            where = f"{file}:{node.lineno}"
            names.update(imported(node))
            plain = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            result += [Use(module, name, where) for name in plain or [full for _, full in imported(node)]]
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    inner = {id(node.value) for node in attributes}  # of a.b.c, only the longest counts
    result += [
        Use(module, name, f"{file}:{node.lineno}")
        for node in attributes
        if id(node) not in inner and (name := chain(node, names))
    ]
    return result


def chain(node: ast.Attribute, names: Mapping[str, str]) -> str | None:
    """`torch.jit.script` for that expression, by any local name of torch; None for other objects."""
    if isinstance(node.value, ast.Attribute):
        inner = chain(node.value, names)
        return f"{inner}.{node.attr}" if inner else None
    if isinstance(node.value, ast.Name) and node.value.id in names:
        return f"{names[node.value.id]}.{node.attr}"
    return None


def matches(name: str, pattern: str) -> bool:
    """`a.b` matches itself only; `a.` matches `a` and everything below it."""
    return name == pattern or (pattern.endswith(".") and f"{name}.".startswith(pattern))


def target(name: str, modules_by_name: Mapping[str, Path]) -> str | None:
    """The module of this project that `name` (a module, or something in one) belongs to."""
    while name:
        if name in modules_by_name:
            return name
        name = name.rpartition(".")[0]
    return None


def package(module: str) -> str:
    """`service.api` for `service.api.dispatch`: the package of a module, or a module that is in none."""
    return ".".join(module.split(".")[:2])


def arrows(root: Path) -> dict[str, dict[str, str]]:
    """module -> module of this project that it imports -> where."""
    paths = modules(root)
    graph: dict[str, dict[str, str]] = {module: {} for module in paths}
    for use in uses(root):
        to = target(use.name, paths)
        if to and to != use.module:
            graph[use.module].setdefault(to, use.where)
    return graph


def package_arrows(root: Path) -> dict[str, set[str]]:
    """package -> other packages of this project that any of its modules imports."""
    graph: dict[str, set[str]] = {}
    for module, targets in arrows(root).items():
        # The roots `service` and `training` hold no code: importing them is no arrow.
        packages = {package(to) for to in targets} - {package(module), "service", "training"}
        graph.setdefault(package(module), set()).update(packages)
    return graph


def wrong_arrows(root: Path) -> list[str]:
    """Arrows that the table does not have, and packages that it does not have."""
    wrong: list[str] = []
    for module, targets in arrows(root).items():
        home = package(module)
        if home in ("service", "training"):
            wrong += [f"{where}: {module} must not import {to}" for to, where in targets.items()]
            continue
        may = MAY_IMPORT.get(home)
        if may is None:
            wrong.append(f"{home} is not in the table of tests/test_architecture.py: it says what a package may import")
            continue
        wrong += [
            f"{where}: {module} must not import {to}"
            for to, where in targets.items()
            if package(to) not in ("service", "training", home)
            and not any(matches(package(to), pattern) for pattern in may)
        ]
    return wrong


def table_of_packages() -> str:
    """The Markdown table that docs/architecture.md shows, from the top floor down."""
    lines = ["| floor | package | what it is | imports |", "| --- | --- | --- | --- |"]
    for number, floor in reversed(list(enumerate(FLOORS))):
        for name in floor:
            targets = ", ".join(f"`{to.removeprefix('service.')}`" for to in sorted(MAY_IMPORT[name]))
            lines.append(f"| {number} | `{name}` | {purpose(ROOT, name)} | {targets or 'nothing'} |")
    return "\n".join(lines)


def purpose(root: Path, name: str) -> str:
    """The first sentence of the docstring of a package or module, without its full stop."""
    path = root / name.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(re.split(r"[.](?=\s|$)", docstring, maxsplit=1)[0].split())


def places() -> Iterator[tuple[str, str]]:
    """What docs/architecture.md says where to find: the question and the file."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for line in page.partition("## Where to look")[2].splitlines():
        question, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        yield from ((question, path) for path in re.findall(r"`([\w/]+\.(?:py|c|js))`", " ".join(cells)))


def wrong_packages(root: Path) -> list[str]:
    """Web framework, torch and TorchScript outside the few modules that may use them."""
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
    circles: list[str] = []
    visited: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            circles.append(" -> ".join((*path[path.index(module) :], module)))
        elif module not in visited:
            for to in graph[module]:
                visit(to, (*path, module))
            visited.add(module)

    for module in graph:
        visit(module, ())
    return circles


def without_docstring(root: Path) -> list[str]:
    return [
        str(path.relative_to(root))
        for path in modules(root).values()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]


def test_imports_follow_the_table() -> None:
    assert wrong_arrows(ROOT) == []


@pytest.mark.parametrize(("root", "floors"), [("service", FLOORS), ("training", TRAINING_FLOORS)])
def test_the_table_points_down(root: str, floors: tuple[tuple[str, ...], ...]) -> None:
    floor_of = {name: number for number, floor in enumerate(floors) for name in floor}
    assert set(floor_of) == {name for name in MAY_IMPORT if name.startswith(f"{root}.")} - {"training.__main__"}
    arrows = [(name, to) for name in floor_of for to in MAY_IMPORT[name] if to.startswith(f"{root}.")]
    assert [(name, to) for name, to in arrows if floor_of[to] >= floor_of[name]] == []


def test_the_house_is_small() -> None:
    assert len(FLOORS) <= 6
    assert sum(map(len, FLOORS)) <= 13


def test_every_arrow_of_the_table_is_used() -> None:
    graph = package_arrows(ROOT)
    unused = {name: MAY_IMPORT[name] - graph[name] for name in set(graph) & set(MAY_IMPORT) - {"training.__main__"}}
    assert {name: arrows for name, arrows in unused.items() if arrows} == {}


def test_every_package_says_what_it_is_for() -> None:
    folders = [path.parent for root in ("service", "training") for path in sorted((ROOT / root).glob("*/__init__.py"))]
    short = [
        path.name
        for path in folders
        if len(re.findall(r"[.](?=\s|$)", ast.get_docstring(ast.parse((path / "__init__.py").read_text())) or "")) < 3
    ]
    assert short == [], "purpose, imports and callers: three sentences each"


def test_the_documentation_shows_the_table() -> None:
    assert table_of_packages() in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_documentation_names_files_that_exist() -> None:
    found = list(places())
    assert len(found) > 15
    assert [(question, path) for question, path in found if not (ROOT / path).is_file()] == []


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
        ("service__codec__forecast", "import training.fit.loop", "training.fit.loop"),
        ("service__codec__forecast", "from training.fit import loop", "training.fit.loop"),
        ("service__codec__forecast", "def f():\n    from training.fit.loop import fit", "training.fit.loop"),
        ("service__codec__forecast", "import service\nservice.api.app.create_app", "service.api.app"),
        ("service__contract__errors", "from service.codec.forecast import decode", "service.codec.forecast"),
        ("service__batching__queue", "from service.codec import forecast", "service.codec.forecast"),
        ("service__registry__served", "from service.api.app import create_app", "service.api.app"),
        ("training__fit__loop", "from service.api.app import create_app", "service.api.app"),
        ("training__networks__digits", "from training.fit.loop import fit", "training.fit.loop"),
    ],
)
def test_a_wrong_arrow_is_named(tmp_path: Path, module: str, statement: str, to: str) -> None:
    targets = {"service__api__app": "", "service__codec__forecast": "", "training__fit__loop": ""}
    root = house(tmp_path, **{**targets, module: statement})
    [line] = wrong_arrows(root)
    assert line.endswith(f"must not import {to}")
    assert line.startswith(module.replace("__", "/") + ".py:")


def test_an_unknown_package_is_named(tmp_path: Path) -> None:
    [line] = wrong_arrows(house(tmp_path, service__helpers__text=""))
    assert line.startswith("service.helpers is not in the table")


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("service__codec__forecast", "from fastapi import Request"),
        ("service__registry__served", "import starlette.requests"),
        ("service__registry__served", "import torch"),
        ("service__api__inference", "from torch import Tensor"),
        ("service__backend__device", "import torch\ntorch.jit.load(f)"),
        ("training__fit__loop", "import fastapi"),
        ("training__fit__loop", "from torch import jit"),
        ("training__fit__loop", "import torch.jit"),
        ("training__fit__loop", "import torch\ntorch.jit.script(f)"),
        ("training__fit__loop", "import torch as t\nt.jit.load(f)"),
        ("training__fit__loop", "import torch\njit = torch.jit"),
        ("training__networks__digits", "import torch\ntorch.jit.script(f)"),
        ("training__fit__loop", "import torch\n@torch.jit.export\ndef f(): ..."),
    ],
)
def test_a_library_away_from_home_is_named(tmp_path: Path, module: str, statement: str) -> None:
    wrong = wrong_packages(house(tmp_path, **{module: statement}))
    assert wrong
    assert all(line.startswith(module.replace("__", "/") + ".py:") for line in wrong)


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("service__api__inference", "from starlette.requests import Request"),
        ("service__backend__torchscript", "import torch\ntorch.jit.load(f)"),
        ("training__fit__export", "import torch\ntorch.jit.script(f)"),
        ("training__networks__digits", "import torch\n@torch.jit.export\ndef f(): ..."),
    ],
)
def test_a_library_at_home_is_not(tmp_path: Path, module: str, statement: str) -> None:
    assert wrong_packages(house(tmp_path, **{module: statement})) == []


def test_a_cycle_is_named(tmp_path: Path) -> None:
    root = house(
        tmp_path,
        service__contract__errors="import service.contract.types",
        service__contract__types="def f():\n    from service.contract import manifest",
        service__contract__manifest="from service.contract.errors import RitmoError",
    )
    names = ("errors", "types", "manifest", "errors")
    assert cycles(root) == [" -> ".join(f"service.contract.{name}" for name in names)]


def test_a_missing_docstring_is_named(tmp_path: Path) -> None:
    assert without_docstring(house(tmp_path, service__errors="x = 1", service__items='"""Says what."""')) == [
        "service/errors.py"
    ]
