import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

Manifest = dict[str, Any]

# The oldest release that the manifests are for (preStop.sleep is on by default from 1.30), and the newest known here.
RELEASES = ("1.30", kubernetes_validate.latest_version())
CORE = ("deployment.yaml", "service.yaml", "poddisruptionbudget.yaml")
SELECTOR = {"matchLabels": {"app.kubernetes.io/name": "yais"}}

# The fields of the Prometheus operator's ServiceMonitor v1 that may be used; kubernetes-validate knows no custom types.
MONITOR_FIELDS = {
    "jobLabel",
    "targetLabels",
    "podTargetLabels",
    "selector",
    "namespaceSelector",
    "endpoints",
    "sampleLimit",
}
ENDPOINT_FIELDS = {
    "port",
    "path",
    "scheme",
    "interval",
    "scrapeTimeout",
    "honorLabels",
    "relabelings",
    "metricRelabelings",
}


def check_service_monitor(monitor: Manifest) -> None:
    assert monitor.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "ServiceMonitor")
    assert {"selector", "endpoints"} <= monitor["spec"].keys() <= MONITOR_FIELDS
    (endpoint,) = monitor["spec"]["endpoints"]
    assert {"port", "interval", "scrapeTimeout"} <= endpoint.keys() <= ENDPOINT_FIELDS
    interval, timeout = (re.fullmatch(r"(\d+)s", endpoint[key]) for key in ("interval", "scrapeTimeout"))
    assert interval is not None
    assert timeout is not None
    assert 0 < int(timeout[1]) <= int(interval[1])  # the operator refuses a longer timeout


def kustomize(folder: Path) -> list[Manifest]:
    """What `kubectl apply -k` would send; skips the test where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    rendered = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(rendered))


def seconds_until_killed(probe: Manifest) -> int:
    """The shortest time from the first failing probe to the kubelet's restart."""
    return int((probe["failureThreshold"] - 1) * probe["periodSeconds"])


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", CORE)
def test_manifest_is_valid_in_strict_mode(root: Path, name: str, release: str) -> None:
    loaded = yaml.safe_load((root / "deploy/k8s" / name).read_text())
    kubernetes_validate.validate(loaded, release, strict=True)


def test_service_monitor_has_only_fields_that_the_operator_knows(monitor: Manifest) -> None:
    check_service_monitor(monitor)


def test_every_manifest_in_the_folder_is_applied(root: Path) -> None:
    folder = root / "deploy/k8s"
    applied = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted(applied) == sorted({path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"})


def test_all_selectors_match_the_labels_of_the_pods_and_of_the_service(
    deployment: Manifest, service: Manifest, budget: Manifest, monitor: Manifest, pod: Manifest
) -> None:
    assert deployment["spec"]["template"]["metadata"]["labels"] == SELECTOR["matchLabels"]
    assert deployment["spec"]["selector"] == SELECTOR
    assert budget["spec"]["selector"] == SELECTOR
    assert service["spec"]["selector"] == SELECTOR["matchLabels"]
    assert all(spread["labelSelector"] == SELECTOR for spread in pod["topologySpreadConstraints"])
    assert monitor["spec"]["selector"] == SELECTOR
    assert service["metadata"]["labels"] == SELECTOR["matchLabels"]


def test_arguments_are_flags_of_the_server(flags: dict[str, str], server_defaults: dict[str, object]) -> None:
    assert flags.keys() <= server_defaults.keys()


def test_ports_are_those_that_the_flags_open(container: Manifest, flags: dict[str, str]) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": int(flags["port"]), "metrics": int(flags["metrics"])}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"]["port"] == ports["grpc"]


def test_headless_service_names_the_ports_that_clients_dial_on_the_pods(service: Manifest, container: Manifest) -> None:
    assert service["spec"]["clusterIP"] == "None"
    ports = {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}
    assert ports == {port["name"]: port["containerPort"] for port in container["ports"]}


def test_service_monitor_scrapes_the_services_metrics_port(monitor: Manifest, service: Manifest) -> None:
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == "metrics"
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert endpoint["honorLabels"] is False
    assert monitor["spec"]["jobLabel"] in service["metadata"]["labels"]


def test_traffic_waits_for_the_models_and_liveness_does_not(container: Manifest) -> None:
    assert container["startupProbe"]["grpc"]["service"] == "ready"
    assert container["readinessProbe"]["grpc"]["service"] == "ready"
    assert container["livenessProbe"]["grpc"]["service"] == ""


def test_a_first_start_may_take_half_an_hour_and_is_no_failed_rollout(
    deployment: Manifest, container: Manifest
) -> None:
    probe = container["startupProbe"]
    longest = probe["failureThreshold"] * probe["periodSeconds"]
    assert 1800 <= longest < deployment["spec"]["progressDeadlineSeconds"]


def test_grace_period_covers_prestop_drain_and_exit(pod: Manifest, container: Manifest, flags: dict[str, str]) -> None:
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + int(flags["drain-timeout"]) + 5


def test_liveness_cannot_cut_a_drain_short(container: Manifest, flags: dict[str, str]) -> None:
    assert seconds_until_killed(container["livenessProbe"]) >= int(flags["drain-timeout"]) + 5


def test_container_is_locked_down(pod: Manifest, container: Manifest) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_no_service_can_set_a_flag_through_the_environment(pod: Manifest) -> None:
    assert pod["enableServiceLinks"] is False


def test_one_whole_gpu_is_asked_for_and_updates_need_no_spare_one(deployment: Manifest, container: Manifest) -> None:
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_only_plans_memory_and_scratch_can_be_written(
    pod: Manifest, container: Manifest, flags: dict[str, str]
) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts.keys() == {"/engines", flags["plan-cache"], "/dev/shm", "/tmp"}
    assert mounts[flags["plan-cache"]].get("readOnly", False) is False
    assert mounts["/engines"]["readOnly"] is True
    assert volumes[mounts["/engines"]["name"]]["persistentVolumeClaim"]["claimName"] == "yais-engines"
    assert volumes[mounts["/dev/shm"]["name"]]["emptyDir"]["medium"] == "Memory"


def test_container_is_started_again_whatever_it_exits_with(pod: Manifest) -> None:
    assert pod.get("restartPolicy", "Always") == "Always"


def test_engine_comes_from_the_mounted_volume(flags: dict[str, str]) -> None:
    assert flags["engine"].startswith("/engines/")


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("folder", ["deploy/k8s", "deploy/k8s-cpu"])
def test_rendered_manifests_are_valid(root: Path, folder: str, release: str) -> None:
    for rendered in kustomize(root / folder):
        if rendered["kind"] == "ServiceMonitor":
            check_service_monitor(rendered)
        else:
            kubernetes_validate.validate(rendered, release, strict=True)


def test_cpu_overlay_takes_the_gpu_out_and_changes_nothing_else(root: Path) -> None:
    on_gpu = {item["kind"]: item for item in kustomize(root / "deploy/k8s")}
    on_cpu = {item["kind"]: item for item in kustomize(root / "deploy/k8s-cpu")}
    assert "nvidia.com/gpu" not in yaml.safe_dump(on_cpu)
    gpu_pod, cpu_pod = (side["Deployment"]["spec"]["template"]["spec"] for side in (on_gpu, on_cpu))
    del gpu_pod["tolerations"]
    for pod in (gpu_pod, cpu_pod):
        del pod["containers"][0]["resources"], pod["containers"][0]["image"]
    assert on_cpu == on_gpu
