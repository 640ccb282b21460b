"""The manifests for Kubernetes match their schemas, and every name that one refers to exists in another.

The test does without kustomize, which only adds a namespace, a tag and generated names.
"""

from __future__ import annotations

import base64
import copy
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from stateroom import Settings, SettingsError
from stateroom.serving.process import DRAIN_SECONDS

from .promql import ROOT, RULES, alerts, load, metrics_of, promtool, rules

Manifest = dict[str, Any]

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION: Manifest = load(FOLDER / "kustomization.yaml")
COMPONENT: Manifest = load(FOLDER / "monitoring" / "kustomization.yaml")
VERSIONS = ["1.27", "1.32", kubernetes_validate.latest_version()]
"""The Kubernetes versions from the oldest that README.md names to the newest with a schema."""

SERVICE_MONITOR = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "spec": {
            "type": "object",
            "required": ["selector", "endpoints"],
            "additionalProperties": False,
            "properties": {
                "jobLabel": {"type": "string"},
                "selector": {"type": "object", "required": ["matchLabels"]},
                "endpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["port"],
                        "additionalProperties": False,
                        "properties": {
                            "port": {"type": "string"},
                            "path": {"type": "string", "pattern": "^/"},
                            "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
                            "scrapeTimeout": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
                        },
                    },
                },
            },
        },
    },
}
"""The part of prometheus-operator's definition (v1) that is used here. No package of Kubernetes' schemas has it."""


def _documents(path: Path) -> Iterator[Manifest]:
    yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


MANIFESTS = [
    *(each for name in KUSTOMIZATION["resources"] for each in _documents(FOLDER / name)),
    *(each for name in COMPONENT["resources"] for each in _documents(FOLDER / "monitoring" / name)),
]


def of_kind(kind: str) -> list[Manifest]:
    found = [each for each in MANIFESTS if each["kind"] == kind]
    assert found, kind
    return found


def template(owner: Manifest) -> Manifest:
    found: Manifest = owner["spec"]["template"]
    return found


DEPLOYMENT = of_kind("Deployment")[0]
OWNERS = [DEPLOYMENT, *of_kind("Job")]
"""The kinds that create pods."""


def _container(owner: Manifest) -> Manifest:
    [container] = template(owner)["spec"]["containers"]
    found: Manifest = container
    return found


def _title(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _settings_env() -> dict[str, str]:
    lines = (FOLDER / "settings.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=_title)
def test_manifests_are_what_their_schemas_say(manifest: Manifest, version: str) -> None:
    if manifest["kind"] == "ServiceMonitor":
        jsonschema.validate(manifest, SERVICE_MONITOR)
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_word_that_no_schema_has_is_found() -> None:
    manifest = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)


def test_every_file_is_taken_up() -> None:
    taken = {*KUSTOMIZATION["resources"], *(f"monitoring/{name}" for name in COMPONENT["resources"])}
    there = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml"}
    assert there == taken


def test_names_are_given_once() -> None:
    names = [_title(each) for each in MANIFESTS]
    assert len(names) == len(set(names))
    assert [each["metadata"]["name"] for each in of_kind("Namespace")] == [KUSTOMIZATION["namespace"]]


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment"])
def test_selectors_find_the_pods_of_one_owner(kind: str) -> None:
    for manifest in of_kind(kind):
        spec = manifest["spec"]
        selector = spec["podSelector"]["matchLabels"] if kind == "NetworkPolicy" else spec["selector"]
        wanted = selector.get("matchLabels", selector)
        assert wanted
        found = [owner for owner in OWNERS if wanted.items() <= template(owner)["metadata"]["labels"].items()]
        assert len(found) == 1, _title(manifest)
        if kind != "NetworkPolicy":
            assert found == [DEPLOYMENT]


def test_every_pod_has_a_network_policy() -> None:
    for owner in OWNERS:
        labels = template(owner)["metadata"]["labels"]
        found = [each for each in of_kind("NetworkPolicy") if each["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
        assert len(found) == 1
        assert set(found[0]["spec"]["policyTypes"]) == {"Ingress", "Egress"}


def test_pods_are_spread_by_their_own_labels() -> None:
    labels = template(DEPLOYMENT)["metadata"]["labels"]
    for constraint in template(DEPLOYMENT)["spec"]["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()


def test_ports_that_are_named_exist() -> None:
    ports = {port["name"]: port["containerPort"] for port in _container(DEPLOYMENT)["ports"]}
    settings = _settings_env()
    assert ports == {"http": int(settings["PORT"]), "metrics": int(settings["METRICS_PORT"])}
    for service in of_kind("Service"):
        assert all(port["targetPort"] in ports for port in service["spec"]["ports"])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert _container(DEPLOYMENT)[probe]["httpGet"]["port"] == "http"
    policy = next(each for each in of_kind("NetworkPolicy") if "ingress" in each["spec"])
    assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == set(ports)


def test_the_policy_lets_out_to_what_the_settings_name() -> None:
    servers = Settings(cookie_keys=[_cookie_key()], database_url="none", redis_sentinels=_settings_env()["REDIS_SENTINELS"])
    for policy in of_kind("NetworkPolicy"):
        is_server = "ingress" in policy["spec"]
        allowed = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        needed = {53, 5432} | ({servers.redis_port, *(each.port for each in servers.redis_sentinels)} if is_server else set())
        assert allowed == needed, _title(policy)


@pytest.mark.parametrize("owner", OWNERS, ids=_title)
def test_what_pods_refer_to_exists(owner: Manifest) -> None:
    pod = template(owner)["spec"]
    assert pod["serviceAccountName"] in {each["metadata"]["name"] for each in of_kind("ServiceAccount")}
    config_maps = {each["name"] for each in KUSTOMIZATION["configMapGenerator"]}
    assert {each["configMapRef"]["name"] for each in _container(owner)["envFrom"]} <= config_maps
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in _container(owner)["volumeMounts"]} == set(volumes)
    secrets = {each["name"]: {Path(file).name for file in each["files"]} for each in KUSTOMIZATION["secretGenerator"]}
    [mount] = [each for each in _container(owner)["volumeMounts"] if "secret" in volumes[each["name"]]]
    files = secrets[volumes[mount["name"]]["secret"]["secretName"]]
    assert {each["value"] for each in _container(owner)["env"]} == {f"{mount['mountPath']}/{file}" for file in files}
    assert _container(owner)["image"] in {each["name"] for each in KUSTOMIZATION["images"]}


@pytest.mark.parametrize("owner", OWNERS, ids=_title)
def test_variables_are_settings(owner: Manifest) -> None:
    names = {*_settings_env(), *(each["name"].removesuffix("_FILE") for each in _container(owner)["env"])}
    assert names <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("owner", OWNERS, ids=_title)
def test_the_service_takes_the_settings(owner: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"COOKIE_KEYS_FILE": _cookie_key(), "DATABASE_URL_FILE": "postgresql://u@db/stateroom", "REDIS_PASSWORD_FILE": "x"}
    for name, value in _settings_env().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="COOKIE_KEYS: required"):
        Settings.load()
    for variable in _container(owner)["env"]:
        path = tmp_path / Path(variable["value"]).name
        path.write_text(contents.pop(variable["name"]), encoding="utf-8")
        monkeypatch.setenv(variable["name"], str(path))
    assert not contents
    settings = Settings.load()
    assert settings.redis_mode == "sentinel"
    assert len(settings.redis_sentinels) >= 3
    assert settings.host == settings.metrics_host == "0.0.0.0"  # Another pod runs this, never this one.


def test_secrets_are_not_committed() -> None:
    assert "secrets/" in (FOLDER / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert not any(each["kind"] == "Secret" for each in MANIFESTS)
    secret = {name.upper() for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
    assert not secret & set(_settings_env())


def test_a_pod_is_given_the_time_that_a_drain_takes() -> None:
    pod, delay = template(DEPLOYMENT)["spec"], float(_settings_env()["DRAIN_DELAY"])
    assert pod["terminationGracePeriodSeconds"] > delay + DRAIN_SECONDS
    ready = _container(DEPLOYMENT)["readinessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] <= delay, "requests would still come when they are refused"
    assert ready["httpGet"]["path"] == "/readyz"
    assert _container(DEPLOYMENT)["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_a_rollout_and_an_eviction_leave_somebody_who_serves() -> None:
    assert DEPLOYMENT["spec"]["replicas"] >= 2
    assert DEPLOYMENT["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert of_kind("PodDisruptionBudget")[0]["spec"]["maxUnavailable"] < DEPLOYMENT["spec"]["replicas"]


@pytest.mark.parametrize("owner", OWNERS, ids=_title)
def test_pods_can_do_little(owner: Manifest) -> None:
    pod, container = template(owner)["spec"], _container(owner)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False, "a Service named redis would set REDIS_PORT"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
    assert "requests" in container["resources"]


def test_the_service_monitor_finds_the_metrics_under_the_name_that_the_rules_ask_for() -> None:
    [monitor] = of_kind("ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    [service] = [each for each in of_kind("Service") if wanted.items() <= each["metadata"]["labels"].items()]
    assert {each["port"] for each in monitor["spec"]["endpoints"]} == {port["name"] for port in service["spec"]["ports"]}
    job = service["metadata"]["labels"][monitor["spec"]["jobLabel"]]
    asked = {name for rule in rules() if metrics_of(rule["expr"]) for name in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert asked == {job}


def test_the_rules_for_prometheus_operator_have_the_runbooks_address_in_them(tmp_path: Path) -> None:
    address = "https://wiki.example/p?a=1&b=it's|runbook"
    objects = {each["metadata"]["name"]: each for each in yaml.safe_load_all(_rules_script(address))}
    assert {(each["apiVersion"], each["kind"]) for each in objects.values()} == {("monitoring.coreos.com/v1", "PrometheusRule")}
    assert set(objects) == {f"stateroom-{path.stem}" for path in RULES}
    urls = {alert: f"{address}#{alert.lower()}" for alert in alerts()}
    for path in RULES:
        spec, shipped = objects[f"stateroom-{path.stem}"]["spec"], copy.deepcopy(load(path))
        for rule in (rule for group in shipped["groups"] for rule in group["rules"] if "alert" in rule):
            rule["annotations"]["runbook_url"] = urls[rule["alert"]]
        assert spec == shipped
        (tmp_path / path.name).write_text(yaml.safe_dump(spec), encoding="utf-8")
        promtool("check", "rules", tmp_path / path.name)


@pytest.mark.parametrize("arguments", [(), ("",), ("docs/runbook.md",), ("https://",)])
def test_without_the_runbooks_address_there_are_no_rules_for_prometheus_operator(arguments: tuple[str, ...]) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        _rules_script(*arguments)
    assert refused.value.stdout == ""
    assert "give the address of the runbook, for example" in refused.value.stderr


def _rules_script(*arguments: str) -> str:
    command = ["sh", str(FOLDER / "monitoring" / "rules.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _cookie_key() -> str:
    return base64.urlsafe_b64encode(bytes(32)).decode()
