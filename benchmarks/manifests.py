"""`make kubernetes-test`: every overlay with every component is built, and checked strictly by Kubernetes' schemas.

The schemas are those of every release that the package kubernetes-validate has, from the first with all that is used
here. Each overlay, component and release is a row of benchmarks/results/kubernetes.csv. kubectl builds what
`kubectl apply -k` would send, or kustomize where that is installed instead.
"""

from __future__ import annotations

import importlib.resources
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks import table
from benchmarks.table import ROOT

RESULTS = ROOT / "benchmarks/results/kubernetes.csv"
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = ("cpu", "gpu")
COMPONENTS = ("", "models-volume", "models-init")
FIRST_RELEASE = (1, 27)  # PodDisruptionBudget.unhealthyPodEvictionPolicy
_SCHEMAS = re.compile(r"v(\d+)\.(\d+)\.\d+")
_MISSING = (
    "neither kubectl nor kustomize is on the path: https://kubernetes.io/docs/tasks/tools, or "
    "go install sigs.k8s.io/kustomize/kustomize/v5@v5.5.0"
)


@dataclass(frozen=True)
class Row:
    """What one overlay is by the schemas of one release; `faults` is empty where all of it is valid."""

    overlay: str
    component: str
    kubernetes: str
    documents: int
    kinds: str
    faults: str
    date: str
    machine: str
    cores: int
    command: str
    commit: str


def builder() -> list[str] | None:
    """The command that builds a folder with a kustomization, None where there is none."""
    for command in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(command[0]):
            return command
    return None


def build(command: list[str], overlay: str, component: str, folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send, with a component that a user has switched on; `folder` is empty."""
    shutil.copytree(KUBERNETES, folder / "kubernetes")
    target = folder / "kubernetes/overlays" / overlay
    if component:
        with (target / "kustomization.yaml").open("a", encoding="utf-8") as file:
            file.write(f"\ncomponents: [../../components/{component}]\n")
    built = subprocess.run([*command, str(target)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(built.stdout))


def releases() -> list[str]:
    """The releases whose schemas are there, such as `1.33`, the oldest first."""
    folders = importlib.resources.files("kubernetes_validate").joinpath("kubernetes-json-schema").iterdir()
    found = {(int(match[1]), int(match[2])) for each in folders if (match := _SCHEMAS.match(each.name))}
    return [f"{major}.{minor}" for major, minor in sorted(found) if (major, minor) >= FIRST_RELEASE]


def faults(document: Mapping[str, Any], release: str) -> list[str]:
    """What is wrong with a document by the schemas of a release: unknown fields, types, what is missing."""
    import kubernetes_validate

    try:
        kubernetes_validate.validate(document, release, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{document['kind']}: {error.message}"]
    return []


def main() -> int:
    """Check, write the rows, print a line for each; 1 where something is wrong, 2 where nothing could be built."""
    command = builder()
    if command is None:
        print(_MISSING, file=sys.stderr)
        return 2
    facts: dict[str, Any] = table.circumstances("make kubernetes-test")
    rows: list[Row] = []
    for overlay in OVERLAYS:
        for component in COMPONENTS:
            with tempfile.TemporaryDirectory() as folder:
                documents = build(command, overlay, component, Path(folder))
            kinds = " ".join(document["kind"] for document in documents)
            for release in releases():
                wrong = "; ".join(fault for document in documents for fault in faults(document, release))
                rows.append(Row(overlay, component, release, len(documents), kinds, wrong, **facts))
                print(f"{overlay} {component or '(no component)'}, Kubernetes {release}: {wrong or 'valid'}")
    table.write(RESULTS, Row, rows)
    return int(any(row.faults for row in rows))


if __name__ == "__main__":
    sys.exit(main())
