"""What the templates of the chart make of values."""

from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from support.chart import CHART, EXAMPLES, STORE, environment, only, pod, rendered, server
from support.tools import ROOT

ENVOY: Final = CHART / "ci/envoy-values.yaml"
TLS: Final = CHART / "ci/tls-values.yaml"


def kinds(resources: list[dict[str, Any]]) -> list[str]:
    return sorted(resource["kind"] for resource in resources)


def test_a_url_is_enough_and_gives_a_safe_deployment() -> None:
    resources = rendered(STORE)
    assert kinds(resources) == [
        *("Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "ServiceAccount")
    ]
    spec = pod(resources)
    assert spec["enableServiceLinks"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert [constraint["topologyKey"] for constraint in spec["topologySpreadConstraints"]] == [
        *("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
    labels = only(resources, "Deployment")["spec"]["selector"]["matchLabels"]
    for constraint in spec["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == labels
    assert server(resources)["args"] == [
        *("serve", "--listen=0.0.0.0:50051", "--http-listen=0.0.0.0:50052", "--ops-listen=0.0.0.0:9464"),
        "--transport=auto",
    ]
    assert only(resources, "Deployment")["spec"]["replicas"] == 2


@pytest.mark.parametrize("example", [None, ENVOY], ids=["server", "with-envoy"])
def test_each_container_runs_with_no_rights(example: Path | None) -> None:
    spec = pod(rendered(STORE, *([example] if example else [])))
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert not container["image"].endswith(":latest")


def test_the_probes_ask_the_ops_port_and_only_readiness_takes_a_pod_out() -> None:
    container = server(rendered(STORE))
    [ops] = [port["containerPort"] for port in container["ports"] if port["name"] == "ops"]
    assert f"--ops-listen=0.0.0.0:{ops}" in container["args"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert {container[f"{name}Probe"]["httpGet"]["port"] for name in paths} == {"ops"}


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({}, 25),
        ({"settings": {"grace_seconds": 0}}, 15),
        ({"settings": {"grace_seconds": 20.5}, "preStopSeconds": 0}, 31),
        ({"settings": {"grace_seconds": 60}, "terminationGracePeriodSeconds": 66}, 66),
    ],
)
def test_kubernetes_waits_until_all_calls_have_ended(values: dict[str, Any], seconds: int) -> None:
    resources = rendered(STORE | values)
    assert pod(resources)["terminationGracePeriodSeconds"] == seconds
    pause = values.get("preStopSeconds", 5)
    assert server(resources).get("lifecycle") == ({"preStop": {"sleep": {"seconds": pause}}} if pause else None)


def test_secrets_come_from_secrets() -> None:
    resources = rendered({}, CHART / "ci/secrets-values.yaml")
    variables = environment(resources)
    assert variables == {
        "CANUSE_REDIS_URL": {"secretKeyRef": {"name": "canuse", "key": "url"}},
        "CANUSE_BOOTSTRAP_KEY": "/etc/canuse/bootstrap-key/key",
    }
    [volume] = [volume for volume in pod(resources)["volumes"] if volume["name"] == "bootstrap-key"]
    assert volume["secret"]["secretName"] == "canuse"
    assert volume["secret"]["items"] == [{"key": "first-key", "path": "key"}]
    [mount] = [mount for mount in server(resources)["volumeMounts"] if mount["name"] == "bootstrap-key"]
    assert mount["mountPath"] == "/etc/canuse/bootstrap-key"
    assert "Secret" not in kinds(resources)
    assert server(resources)["image"].endswith("@sha256:" + "0123456789abcdef" * 4)


def test_settings_become_variables_as_the_server_reads_them() -> None:
    settings = {
        "max_waiting_bytes": 1099511627776,
        "store_timeout_seconds": 0.25,
        "grace_seconds": 3.0,
        "reflection": False,
        "http_cors_origins": ["https://a.example.com", "https://b.example.com"],
        "default_package": "1e3",
    }
    assert environment(rendered(STORE | {"settings": settings})) == {
        "CANUSE_REDIS_URL": "redis://valkey:6379",
        "CANUSE_MAX_WAITING_BYTES": "1099511627776",
        "CANUSE_STORE_TIMEOUT_SECONDS": "0.25",
        "CANUSE_GRACE_SECONDS": "3",
        "CANUSE_REFLECTION": "false",
        "CANUSE_HTTP_CORS_ORIGINS": "https://a.example.com,https://b.example.com",
        "CANUSE_DEFAULT_PACKAGE": "1e3",
    }


def test_behind_envoy_the_server_is_on_the_loopback_and_envoy_outlives_it() -> None:
    resources = rendered({}, ENVOY)
    [envoy] = pod(resources)["initContainers"]
    # Kubernetes ends such a container after the others.
    assert envoy["restartPolicy"] == "Always"
    assert server(resources)["args"][1:3] == ["--listen=127.0.0.1:50051", "--http-listen="]
    assert "--transport=native" in server(resources)["args"]
    assert {port["name"] for port in server(resources)["ports"]} == {"ops"}
    configuration = only(resources, "ConfigMap")["data"]
    for file in ("tls.yaml", "tls-certificate.yaml"):
        assert configuration[file] == (ROOT / "deploy/envoy" / file).read_text()
    [tls] = [volume["secret"] for volume in pod(resources)["volumes"] if volume["name"] == "tls"]
    mounts = {mount["mountPath"]: mount for mount in envoy["volumeMounts"]}
    for item in tls["items"]:
        assert f"/etc/envoy/certificates/{item['path']}" in configuration["tls-certificate.yaml"]
    assert mounts["/etc/envoy/certificates"]["name"] == "tls"
    assert mounts["/etc/envoy/tls-certificate.yaml"]["subPath"] == "tls-certificate.yaml"
    assert mounts[envoy["args"][1]]["subPath"] == "tls.yaml"
    for service in (only(resources, "Service", "test-canuse"), only(resources, "Service", "test-canuse-headless")):
        assert service["spec"]["ports"][0]["targetPort"] == 8443
    [allowed, _] = only(resources, "NetworkPolicy")["spec"]["ingress"]
    assert [port["port"] for port in allowed["ports"]] == [8443]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_no_volume_is_mounted_within_another(example: Path) -> None:
    """A container runtime cannot create the directory for it if the outer one is read-only."""
    spec = pod(rendered({}, example))
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        paths = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
        assert not [path for path in paths if any(parent in paths for parent in path.parents)]


def test_pods_restart_when_the_configuration_of_envoy_changes() -> None:
    annotations = only(rendered({}, ENVOY), "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert len(annotations["checksum/envoy"]) == 64


def test_without_envoy_the_server_terminates_tls_and_checks_clients() -> None:
    resources = rendered({}, TLS)
    assert server(resources)["args"][-3:] == [
        *("--tls-certificate=/etc/canuse/tls/tls.crt", "--tls-key=/etc/canuse/tls/tls.key"),
        "--tls-client-ca=/etc/canuse/client-ca/ca.crt",
    ]
    mounts = {mount["name"]: mount["mountPath"] for mount in server(resources)["volumeMounts"]}
    assert (mounts["tls"], mounts["client-ca"]) == ("/etc/canuse/tls", "/etc/canuse/client-ca")
    [ca] = [volume["secret"] for volume in pod(resources)["volumes"] if volume["name"] == "client-ca"]
    assert ca["items"] == [{"key": "ca.pem", "path": "ca.crt"}]


def test_the_port_for_metrics_is_never_on_the_service_that_others_may_reach() -> None:
    resources = rendered({}, TLS)
    assert [port["name"] for port in only(resources, "Service", "test-canuse")["spec"]["ports"]] == ["grpc", "http"]
    headless = only(resources, "Service", "test-canuse-headless")["spec"]
    assert headless["clusterIP"] == "None"
    assert [port["name"] for port in headless["ports"]] == ["grpc", "http", "ops"]


def test_nobody_is_admitted_without_peers() -> None:
    policy = only(rendered(STORE | {"networkPolicy": {"clients": [], "monitoring": []}}), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert "ingress" not in policy


def test_what_the_server_may_connect_to_can_be_restricted() -> None:
    policy = only(rendered({}, CHART / "ci/full-values.yaml"), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    [dns, store] = policy["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert store["ports"] == [{"port": 6379}]


def test_the_autoscaler_decides_the_number_of_pods() -> None:
    resources = rendered({}, CHART / "ci/autoscaling-values.yaml")
    assert "replicas" not in only(resources, "Deployment")["spec"]
    scaler = only(resources, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == only(resources, "Deployment")["metadata"]["name"]
    assert scaler["metrics"][0]["containerResource"]["container"] == server(resources)["name"]
    budget = only(resources, "PodDisruptionBudget")["spec"]
    assert budget["minAvailable"] == "50%"
    assert "maxUnavailable" not in budget


def test_prometheus_gets_the_rules_and_the_job_that_they_name() -> None:
    resources = rendered({}, CHART / "ci/monitoring-values.yaml")
    rules = YAML(typ="safe").load((ROOT / "deploy/prometheus/canuse.rules.yaml").read_text())
    assert only(resources, "PrometheusRule")["spec"] == rules
    monitor = only(resources, "ServiceMonitor")
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "canuse"}]
    selected = monitor["spec"]["selector"]["matchLabels"].items()
    [service] = [one for one in resources if one["kind"] == "Service" and selected <= one["metadata"]["labels"].items()]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    dashboard = only(resources, "ConfigMap")["data"]["canuse.json"]
    assert dashboard.strip() == (ROOT / "deploy/grafana/canuse.json").read_text().strip()


def test_pods_are_what_the_services_the_budget_and_the_policy_select() -> None:
    resources = rendered({}, CHART / "ci/full-values.yaml")
    labels = only(resources, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert ("team", "billing") in labels
    selectors = [one["spec"]["selector"] for one in resources if one["kind"] == "Service"]
    selectors.append(only(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"])
    selectors.append(only(resources, "Deployment")["spec"]["selector"]["matchLabels"])
    for selector in selectors:
        assert selector.items() <= labels
