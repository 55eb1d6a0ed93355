"""The manifests for Kubernetes: built by kustomize, valid by Kubernetes' own schemas, and true to the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import table
from benchmarks.manifests import COMPONENTS, KUBERNETES, OVERLAYS, RESULTS, Row, build, builder, faults, releases
from service.settings import Settings, unknown_variables

ROOT = Path(__file__).resolve().parents[2]
VERSION = "1.33"  # of the schemas: a release that the common clouds offer; `make kubernetes-test` asks all
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


def manifests(overlay: str, component: str, folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send, with a component that a user has switched on."""
    command = builder()
    if command is None:
        pytest.skip("needs kubectl or kustomize")
    return build(command, overlay, component, folder)


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
def test_what_is_applied_is_valid(overlay: str, component: str, tmp_path: Path) -> None:
    pytest.importorskip("kubernetes_validate", reason="the extra deploy is not installed")
    documents = manifests(overlay, component, tmp_path)
    assert len(documents) == 6
    assert [fault for document in documents for fault in faults(document, VERSION)] == []


def test_the_schemas_notice_a_slip() -> None:
    pytest.importorskip("kubernetes_validate", reason="the extra deploy is not installed")
    service = {**BASE["Service"], "spec": {**BASE["Service"]["spec"], "porst": []}}
    assert "porst" in faults(service, VERSION)[0]
    assert VERSION in releases()


def test_what_was_checked_last_was_valid_and_is_all_there_is() -> None:
    rows = table.read(RESULTS, Row)
    assert not any(row.faults for row in rows)
    overlays, components = (
        {path.name for path in (KUBERNETES / kind).iterdir()} for kind in ("overlays", "components")
    )
    assert {row.overlay for row in rows} == set(OVERLAYS) == overlays
    assert {row.component for row in rows} - {""} == set(COMPONENTS) - {""} == components


def test_the_pod_of_kserve_is_valid() -> None:
    pytest.importorskip("kubernetes_validate", reason="the extra deploy is not installed")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": KSERVE_POD}
    assert faults(pod, VERSION) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_selects_the_same_pods(overlay: str, tmp_path: Path) -> None:
    by_kind = {document["kind"]: document for document in manifests(overlay, "", tmp_path)}
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
