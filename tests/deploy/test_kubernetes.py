"""The manifests for Kubernetes: built by kustomize, valid by Kubernetes' own schemas, and true to the service."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings, unknown_variables

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
KUBECTL = shutil.which("kubectl")
VERSION = "1.33"  # of the schemas: a release that the common clouds offer
OVERLAYS = ("cpu", "gpu")
COMPONENTS = (None, "models-volume", "models-init")
BASE = {  # kind -> the manifest
    document["kind"]: document
    for path in sorted((KUBERNETES / "base").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
}
INFERENCE_SERVICE = yaml.safe_load((KUBERNETES / "kserve/inferenceservice.yaml").read_text(encoding="utf-8"))
KSERVE_POD = {
    name: value
    for name, value in INFERENCE_SERVICE["spec"]["predictor"].items()
    if name not in {"minReplicas", "maxReplicas", "timeout"}
}
POD = BASE["Deployment"]["spec"]["template"]["spec"]
PODS = {"Deployment": POD, "InferenceService": KSERVE_POD}


def manifests(overlay: str, component: str | None, folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send, with a component that a user has switched on."""
    if KUBECTL is None:
        pytest.skip("needs kubectl")
    shutil.copytree(KUBERNETES, folder / "kubernetes")
    target = folder / "kubernetes/overlays" / overlay
    if component:
        with (target / "kustomization.yaml").open("a", encoding="utf-8") as file:
            file.write(f"\ncomponents: [../../components/{component}]\n")
    built = subprocess.run([KUBECTL, "kustomize", str(target)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(built.stdout))


def strings(value: Any) -> Iterator[str]:
    """All strings in a manifest, its keys included."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings(member)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_applied_is_valid(overlay: str, component: str | None, tmp_path: Path) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="the extra deploy is not installed")
    documents = manifests(overlay, component, tmp_path)
    assert len(documents) == 6
    for document in documents:
        validator.validate(document, VERSION, strict=True)


def test_the_schemas_notice_a_slip() -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="the extra deploy is not installed")
    service = {**BASE["Service"], "spec": {**BASE["Service"]["spec"], "porst": []}}
    with pytest.raises(validator.ValidationError):
        validator.validate(service, VERSION, strict=True)


def test_the_pod_of_kserve_is_valid() -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="the extra deploy is not installed")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": KSERVE_POD}
    validator.validate(pod, VERSION, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_selects_the_same_pods(overlay: str, tmp_path: Path) -> None:
    by_kind = {document["kind"]: document for document in manifests(overlay, None, tmp_path)}
    labels = by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        by_kind["Service"]["spec"]["selector"],
        by_kind["Deployment"]["spec"]["selector"]["matchLabels"],
        by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        by_kind["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    assert by_kind["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "ritmo"
    assert {document["metadata"].get("namespace", "ritmo") for document in by_kind.values()} == {"ritmo"}
    assert "replicas" not in by_kind["Deployment"]["spec"]


@pytest.mark.parametrize("kind", PODS)
def test_a_pod_has_as_long_to_end_as_the_service_drains(kind: str) -> None:
    [container] = PODS[kind]["containers"]
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    drain = float(values["RITMO_DRAIN_DELAY_SECONDS"]) + float(values["RITMO_DRAIN_SECONDS"])
    assert PODS[kind]["terminationGracePeriodSeconds"] == drain + 5


@pytest.mark.parametrize("kind", PODS)
def test_settings_exist_and_are_accepted(kind: str) -> None:
    [container] = PODS[kind]["containers"]
    assert unknown_variables([entry["name"] for entry in container["env"]]) == {}
    given = {e["name"].removeprefix("RITMO_").lower(): e["value"] for e in container["env"] if "value" in e}
    Settings(**given)


def test_probes_ask_the_management_port() -> None:
    [container] = POD["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert ports == {"http": 8000, "management": int(values["RITMO_MANAGEMENT_PORT"])}
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "management"}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= Settings.model_fields["model_load_seconds"].default
    annotations = BASE["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == values["RITMO_MANAGEMENT_PORT"]


@pytest.mark.parametrize("kind", PODS)
def test_a_pod_can_do_nothing_but_answer(kind: str) -> None:
    pod = PODS[kind]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
    assert BASE["NetworkPolicy"]["spec"]["egress"] == []


def test_the_autoscaler_asks_for_what_the_adapter_offers() -> None:
    adapter = yaml.safe_load((KUBERNETES / "prometheus-adapter-values.yaml").read_text(encoding="utf-8"))
    offered = {rule["name"]["as"] for rule in adapter["rules"]["custom"]}
    asked = {metric["pods"]["metric"]["name"] for metric in BASE["HorizontalPodAutoscaler"]["spec"]["metrics"]}
    assert asked == offered
    targets = [m["pods"]["target"]["averageValue"] for m in BASE["HorizontalPodAutoscaler"]["spec"]["metrics"]]
    limit = Settings.model_fields["max_queue_seconds"].default
    assert all(float(target.removesuffix("m")) / 1000 < limit / 10 for target in targets)


def test_kserve_asks_routes_that_exist() -> None:
    [container] = KSERVE_POD["containers"]
    paths = {container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}
    assert paths == {"/v2/health/live", "/v2/health/ready"}
    assert container["readinessProbe"]["httpGet"]["port"] == container["ports"][0]["containerPort"]


def test_images_are_named_by_version() -> None:
    for overlay in OVERLAYS:
        [image] = yaml.safe_load((KUBERNETES / f"overlays/{overlay}/kustomization.yaml").read_text())["images"]
        assert image["name"] == POD["containers"][0]["image"]
        assert image["newTag"].partition("-")[0] == "0.1.0"
    assert not any(text.endswith(":latest") for document in BASE.values() for text in strings(document))
