"""What is installed, pinned, built and documented agrees: pyproject, constraints, Makefile, containers, README."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from pydantic_core import PydanticUndefined

from service.__main__ import Ritmo
from service.api.problems import KINDS
from service.authoring.commands import ModelCommand
from service.server.commands.keys import Keys
from service.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOP_LEVEL = {"prometheus-client": "prometheus_client", "python-multipart": "python_multipart", "pillow": "PIL"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


CORE = names(PROJECT["dependencies"])
EXTRAS = {extra: names(lines) for extra, lines in PROJECT["optional-dependencies"].items()}
# Extras that `make` does not install: tests of them are skipped, but for `make install-all`.
ON_DEMAND = {"browser", "deploy", "fuzz", "nixtla", "onnx", "parquet", "signing", "tracing"}
INSTALLED = CORE.union(*(lines for extra, lines in EXTRAS.items() if extra not in ON_DEMAND))


def closure(direct: set[str]) -> set[str]:
    """All distributions that installing `direct` installs here, by the metadata of those that are installed."""
    complete: set[str] = set()
    queue = set(direct)
    while queue:
        name = queue.pop()
        complete.add(name)
        requirements = [Requirement(line) for line in metadata.requires(name) or []]
        applicable = [r for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]
        queue |= {canonicalize_name(requirement.name) for requirement in applicable} - complete
    return complete


def imports(package: str) -> set[str]:
    """Top-level names of everything outside the standard library and this project that `package` imports."""
    top_level: set[str] = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                top_level |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                top_level.add(node.module.partition(".")[0])
    return top_level - set(sys.stdlib_module_names) - {"service", "training", "tests"}


def provided(distributions: set[str]) -> set[str]:
    """The names by which `distributions` are imported."""
    return {
        "opentelemetry" if name.startswith("opentelemetry") else TOP_LEVEL.get(name, name.replace("-", "_"))
        for name in distributions
    }


def pins() -> dict[NormalizedName, str]:
    """Distribution -> version of constraints.txt."""
    lines = [line for line in text("constraints.txt").splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


# --- dependencies ----------------------------------------------------------------------------------------------------


def test_the_serving_install_pulls_no_training_or_development_dependency() -> None:
    serving = closure(CORE)
    assert serving & (EXTRAS["train"] | EXTRAS["dev"]) == set()
    assert serving & {"contourpy", "pandas", "scikit-learn", "tensorboard"} == set()


def test_the_service_imports_only_what_the_serving_install_names() -> None:
    # starlette is FastAPI's own vocabulary, pydantic-core pydantic's
    assert (
        imports("service")
        - provided(CORE | EXTRAS["parquet"] | EXTRAS["nixtla"] | EXTRAS["signing"] | EXTRAS["tracing"])
        - {"starlette", "pydantic_core"}
        == set()
    )


def test_the_bytecode_of_all_that_a_start_imports_is_written() -> None:
    """Torch is imported late, and without its bytecode the first answer takes two seconds more."""
    (statement,) = re.findall(r"^COMPILE := .* -c '(.+)'$", text("Makefile"), re.MULTILINE)
    program = f"import sys; {statement}; print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert output.stdout == "True\n"


def test_every_serving_dependency_is_used() -> None:
    by_uvicorn_and_starlette = {"httptools", "uvloop", "websockets", "python_multipart"}
    assert provided(CORE) - imports("service") - by_uvicorn_and_starlette == set()


def test_training_imports_only_what_its_extra_names() -> None:
    assert imports("training") - provided(CORE | EXTRAS["train"] | EXTRAS["onnx"]) == set()


def test_everything_that_is_installed_is_pinned() -> None:
    assert closure(INSTALLED) - set(pins()) == set()
    assert set().union(*(EXTRAS[extra] for extra in ON_DEMAND)) - set(pins()) == set()
    [every_extra] = re.findall(r"^ALL_EXTRAS := (\S+)$", text("Makefile"), re.MULTILINE)
    assert set(every_extra.split(",")) == set(EXTRAS)


def test_what_is_served_has_hashes() -> None:
    """`requirements.txt` is the whole serving install but torch, in the versions of `constraints.txt`."""
    entries = re.split(r"\n(?=\w)", text("requirements.txt").partition("\n")[2].strip())
    locked = {canonicalize_name(entry.partition("==")[0]): entry for entry in entries}
    assert locked.keys() == closure(CORE) - {"torch"}
    for name, entry in locked.items():
        assert re.match(rf"\S+=={re.escape(pins()[name])}[ \\]", entry), f"{name}: run `make requirements`"
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", entry)) >= 1


def test_only_what_has_a_hash_is_installed_to_serve() -> None:
    for document in ("Makefile", "Dockerfile", "docs/settings.md"):
        assert re.search(r"--no-deps --require-hashes (-r|--requirement) requirements\.txt", text(document)), document


def test_the_tests_run_on_the_pinned_versions() -> None:
    installed = {canonicalize_name(d.metadata["Name"]): d.version.partition("+")[0] for d in metadata.distributions()}
    required = closure(INSTALLED)
    different = {
        name: (installed[name], pin) for name, pin in pins().items() if name in required and installed[name] != pin
    }
    assert different == {}


def test_the_closure_would_notice() -> None:
    assert "contourpy" in closure({"matplotlib"})
    assert "sympy" in closure({"torch"})


# --- one fact, one value ---------------------------------------------------------------------------------------------


def test_torch_is_the_same_everywhere() -> None:
    pinned = pins()[canonicalize_name("torch")]
    assert f"torch=={pinned}" in PROJECT["dependencies"]
    assert f"TORCH_VERSION := {pinned}\n" in text("Makefile")
    assert f"ARG TORCH_VERSION={pinned}\n" in text("Dockerfile")
    assert f"torch=={pinned}+cpu" in text("docs/settings.md")


def test_the_release_of_uvicorn_whose_internals_are_extended_is_pinned() -> None:
    """`service/server/http_protocol.py` extends private methods of one release."""
    pinned = pins()[canonicalize_name("uvicorn")]
    assert f"uvicorn=={pinned.rpartition('.')[0]}.*" in PROJECT["dependencies"]


def test_torch_is_never_installed_from_an_index_that_has_the_cuda_build() -> None:
    [index] = re.findall(r"^TORCH_INDEX \?= (\S+)$", text("Makefile"), re.MULTILINE)
    assert index.endswith("/cpu")
    assert f"ARG TORCH_INDEX={index}\n" in text("Dockerfile")
    # A line that names the release of torch also names the local version (+cpu).
    lines = [line for name in ("Makefile", "Dockerfile", "docs/settings.md") for line in text(name).splitlines()]
    exact = [line for line in lines if "torch==" in line]
    assert len(exact) >= 3
    assert [line for line in exact if "+" not in line.partition("torch==")[2]] == []


def test_the_version_is_the_same_everywhere() -> None:
    newest = re.search(r"^## \[(\S+)\]", text("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == PROJECT["version"]


def test_supported_pythons_are_the_same_everywhere() -> None:
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in text("Makefile")
    assert "Python 3.11, 3.12 or 3.13" in text("README.md")


def test_license_is_the_whole_apache_license() -> None:
    licence = text("LICENSE")
    assert licence.lstrip().startswith("Apache License")
    assert "END OF TERMS AND CONDITIONS" in licence


# --- containers ------------------------------------------------------------------------------------------------------


def test_the_image_is_built_from_one_base_alone() -> None:
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", text("Dockerfile"), re.MULTILINE)
    names_of_stages = {name for _, name in stages if name}
    assert {base for base, _ in stages} - names_of_stages == {"$PYTHON_IMAGE", "scratch"}
    assert "\nARG PYTHON_IMAGE=python:3.11-slim-bookworm\n" in text("Dockerfile")
    assert "# syntax" not in text("Dockerfile")


def test_compose_waits_longer_than_the_service_drains() -> None:
    grace = re.search(r"stop_grace_period: (\d+)s", text("docker-compose.yml"))
    assert grace is not None
    fields = Settings.model_fields
    assert int(grace.group(1)) > fields["drain_delay_seconds"].default + fields["drain_seconds"].default


def test_every_container_is_bounded() -> None:
    services = yaml.safe_load(text("docker-compose.yml"))["services"]
    for name, service in services.items():
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert services["ritmo"]["tmpfs"] == ["/tmp:size=128m,mode=1777,noexec,nosuid,nodev"]
    assert services["ritmo"]["mem_limit"]
    assert services["ritmo"]["pids_limit"]
    connections = Settings.model_fields["max_live_connections"].default
    assert services["ritmo"]["ulimits"] == {"nofile": 16384, "core": 0}
    assert services["ritmo"]["ulimits"]["nofile"] > connections * 1.5


def test_the_container_can_do_nothing_but_answer() -> None:
    """What docker-compose.yml and the Dockerfile ask for; tests/docker/test_container.py looks at a container."""
    service = yaml.safe_load(text("docker-compose.yml"))["services"]["ritmo"]
    assert service["read_only"] is True
    assert not {"volumes", "privileged", "cap_add", "user", "network_mode", "pid"} & service.keys()
    [*_, last_stage] = text("Dockerfile").split("\nFROM ")
    assert last_stage.startswith("scratch")
    [user] = re.findall(r"^USER (\d+):\d+$", last_stage, re.MULTILINE)
    assert int(user) > 0
    assert "RUN " not in last_stage  # and so no shell has to be in it


# --- documentation ---------------------------------------------------------------------------------------------------


def settings_rows() -> Iterator[str]:
    """The rows of the table of settings, as the fields describe themselves."""
    for name, field in Settings.model_fields.items():
        assert field.default is not PydanticUndefined
        default = "" if field.default is None else f"`{field.default}`"
        meaning = (field.description or "").replace("<", r"\<")  # Markdown would take <n> for a tag
        yield f"| `{PREFIX}{name.upper()}` | {default} | {meaning} |"


def test_every_setting_is_documented() -> None:
    page = text("docs/settings.md")
    missing = [row for row in settings_rows() if row not in page]
    assert not missing, "add to docs/settings.md:\n" + "\n".join(missing)
    documented = set(re.findall(r"^\| `(RITMO_\w+)` \|", page, re.MULTILINE))
    assert documented == {PREFIX + name.upper() for name in Settings.model_fields}


def test_the_status_of_every_error_is_documented() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (.*) \|$", text("docs/http.md"), re.MULTILINE)
    documented = {code: int(status) for status, codes in rows for code in re.findall(r"`([a-z_]+)`", codes)}
    assert documented == {code: KINDS[code].status for code in documented}
    assert set(KINDS) == set(documented)


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "Makefile",
        ".ci/run",
        "training/RESULTS.md",
        *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
    ],
)
def test_every_chore_that_is_named_exists(document: str) -> None:
    if not (ROOT / document).exists():
        pytest.skip(f"{document} is written by `make report`")
    targets = set(re.findall(r"^([a-z][a-z-]*):", text("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|check \w+ )make ([a-z][a-z-]*)", text(document), re.MULTILINE))
    assert named - targets == set()


def keys_of(module: str, name: str) -> set[str]:
    """The keys of a dictionary of a module, which is not imported: it would import torch."""
    for node in ast.parse(text(module)).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name and isinstance(node.value, ast.Dict):
            return {
                key.value for key in node.value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }
    raise KeyError(name)


def commands() -> dict[str, set[str]]:
    """The commands of `ritmo`, each with those below it."""
    below = {"keys": set(Keys.model_fields), "model": set(ModelCommand.model_fields)}
    trained = {"train": keys_of("training/finetuning/__main__.py", "COMMANDS")}
    return {name: below.get(name, set()) for name in Ritmo.model_fields} | trained


@pytest.mark.parametrize(
    "document", ["README.md", "SECURITY.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
)
def test_every_command_that_is_named_exists(document: str) -> None:
    known = commands()
    for name, below in re.findall(
        r"(?:`|^|bin/|\| )ritmo ([a-z]+)(?: ([a-z][a-z-]*)\b)?", text(document), re.MULTILINE
    ):
        assert name in known, f"ritmo {name}"
        assert not known[name] or not below or below.replace("-", "_") in known[name], f"ritmo {name} {below}"
    for module, word in re.findall(r"python3? -m ([a-z]\w*(?:\.\w+)*)(?: ([a-z][a-z-]+)\b)?", text(document)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file() or find_spec(module), module
        assert module != "training" or not word or word in keys_of("training/__main__.py", "COMMANDS"), (
            f"{module} {word}"
        )


@pytest.mark.parametrize(
    "document", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
)
def test_every_link_leads_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text(document))
    folder = (ROOT / document).parent
    assert [link for link in links if not (folder / link).exists()] == []


def test_every_test_that_a_document_names_exists() -> None:
    files = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")}
    functions = {name for content in files.values() for name in re.findall(r"def (test_\w+)\(", content)}
    for path in [ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]:
        page = path.read_text("utf-8")
        assert set(re.findall(r"\btests/[\w/]+\.py", page)) <= set(files), path
        assert set(re.findall(r"(?<![\w/])test_\w+(?!\.py|\w)", page)) <= functions, path


def test_every_threat_has_a_defence_and_a_test() -> None:
    table = text("docs/security.md").partition("| threat | defence | test |")[2]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for threat, defence, test in rows:
        assert threat.strip()
        assert defence.strip()
        assert re.search(r"tests/[\w/]+\.py|\btest_\w+|`make \w+`", test), threat


def test_the_layout_that_is_documented_is_the_layout() -> None:
    [tree] = re.findall(r"^```\n(models/.*?)^```", text("docs/architecture.md"), re.MULTILINE | re.DOTALL)
    parent = ""
    for line in tree.splitlines():
        name = line.split()[0].split("<")[0]
        parent = parent if line.startswith(" ") else name
        path = parent + name if line.startswith(" ") else name
        assert (ROOT / path).is_dir(), f"{path} is in docs/architecture.md, but not here"
