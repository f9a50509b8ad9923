"""What docker/ names exists in the code: commands, settings, ports, files, metrics, topics."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from consumers import status, worker
from consumers.inputs import addresses
from embark import cli, metrics
from embark.config import load
from embark.queue.base import Lane
from embark.queue.kafka.topics import Topics
from embark.settings import Settings
from gateway import __main__ as gateway_main
from tests.support.gateway import service

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
BASE = DOCKER / "kubernetes" / "base"
SECRET = {
    "EMBARK_ARCHIVE__CASSANDRA__PASSWORD": "a",
    "EMBARK_QUEUE__KAFKA__PASSWORD": "b",
}
OURS = ("gateway", "consumer", "schema")
PORTS = {"gateway": 8080, "consumer": 8081, "retina": 8001}
USER = 10001


def read_yaml(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


COMPOSE = read_yaml(DOCKER / "compose.yaml")[0]
SERVICES = COMPOSE["services"]
MANIFESTS = [
    document
    for path in [*sorted(BASE.glob("*.yaml")), DOCKER / "kubernetes" / "export.yaml"]
    if path.name != "kustomization.yaml"
    for document in read_yaml(path)
]
WORKLOADS = {
    one["metadata"]["labels"]["app.kubernetes.io/component"]: one
    for one in MANIFESTS
    if one["kind"] in ("Deployment", "Job")
}
RULES = [
    rule
    for group in read_yaml(DOCKER / "prometheus" / "rules.yaml")[0]["groups"]
    for rule in group["rules"]
]
DASHBOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))


def manifest(kind: str, name: str) -> Any:
    return next(
        one for one in MANIFESTS if (one["kind"], one["metadata"].get("name")) == (kind, name)
    )


def pod(component: str) -> Any:
    return WORKLOADS[component]["spec"]["template"]["spec"]


def container(component: str) -> Any:
    (only,) = pod(component)["containers"]
    return only


def instructions(name: str, target: str | None = None) -> list[tuple[str, str]]:
    """The instructions of one stage and of those it is built from; of the last without a target."""
    text = (DOCKER / name).read_text("utf-8")
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.M)).splitlines()
    stages: dict[str, list[tuple[str, str]]] = {}
    stage = ""
    for line in filter(None, lines):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, stage = rest.partition(" AS ")
            stages[stage] = list(stages.get(image, []))
        elif stages:
            stages[stage].append((word, rest.strip()))
    return stages[target or stage]


def image_environment(name: str, target: str | None = None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word, rest in instructions(name, target):
        if word == "ENV":
            pairs |= dict(pair.split("=", 1) for pair in shlex.split(rest))
    return pairs


def last(word: str, name: str, target: str | None = None) -> str:
    return [rest for found, rest in instructions(name, target) if found == word][-1]


IMAGES: dict[str, tuple[str, str | None]] = {
    "gateway": ("Dockerfile", "gateway"),
    "consumer": ("Dockerfile", "consumer"),
    "schema": ("Dockerfile", "gateway"),
    "retina": ("Dockerfile.retina", None),
    "export": ("Dockerfile.export", None),
}


def compose_settings(name: str) -> Settings:
    environment = image_environment(*IMAGES[name]) | SERVICES[name].get("environment", {})
    return load(environment=environment).settings


def kubernetes_settings(name: str) -> Settings:
    sources = container(name)["envFrom"]
    assert sources == [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "embark"}}]
    return load(environment=image_environment(*IMAGES[name]) | settings_file() | SECRET).settings


def settings_file() -> dict[str, str]:
    lines = (BASE / "settings.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of reach of an embark.toml in the working tree."""
    monkeypatch.chdir(tmp_path)


# Settings


@pytest.mark.parametrize("read", [compose_settings, kubernetes_settings])
@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str, read: Any) -> None:
    settings = read(name)
    assert (settings.archive.backend, settings.queue.backend) == ("cassandra", "kafka")
    assert settings.log.format == "json"


def test_the_exporter_writes_where_the_others_read() -> None:
    assert compose_settings("export").retina.model_repository == Path("/models")
    for name in ("gateway", "consumer", "retina", "export"):
        (volume,) = (one for one in SERVICES[name]["volumes"] if "/models" in one)
        mounts = {one["name"]: one for one in container(name)["volumeMounts"]}
        read_only = name != "export"
        assert volume.endswith(":/models:ro" if read_only else ":/models")
        assert mounts["models"]["mountPath"] == "/models"
        assert mounts["models"].get("readOnly", False) is read_only
        if name in OURS:
            assert compose_settings(name).retina.model_repository == Path("/models")
    assert "--model-repository=/models" in (DOCKER / "start-retina").read_text("utf-8")


def test_passwords_are_in_secrets_only() -> None:
    assert all("PASSWORD" not in name for name in settings_file())
    assert not any(one["kind"] == "Secret" for one in MANIFESTS)
    for one in SERVICES.values():
        assert all("PASSWORD" not in name for name in one.get("environment", {}))


def test_authorities_are_mounted_where_the_settings_look() -> None:
    settings = kubernetes_settings("consumer")
    for tls in (settings.archive.cassandra.tls, settings.queue.kafka.tls):
        assert tls.enabled
        assert str(tls.authority).startswith("/etc/embark/authorities/")
    for name in OURS:
        mounts = {one["name"]: one["mountPath"] for one in container(name)["volumeMounts"]}
        assert mounts["authorities"] == "/etc/embark/authorities"


@pytest.mark.parametrize("name", WORKLOADS)
def test_services_leave_no_variables_in_pods(name: str) -> None:
    # EMBARK_… of a Service would be an unknown setting.
    assert pod(name)["enableServiceLinks"] is False


# Commands and files


def test_commands_exist() -> None:
    assert last("CMD", "Dockerfile", "gateway") == '["start-gateway"]'
    start = (DOCKER / "start-gateway").read_text("utf-8").splitlines()[-1]
    consume = " ".join(json.loads(last("CMD", "Dockerfile", "consumer")))
    export = " ".join(json.loads(last("ENTRYPOINT", "Dockerfile.export")))
    for command, package in (
        (start.removeprefix("exec "), "gateway"),
        (consume, "consumers"),
        (export, "export"),
    ):
        assert command == f"python -m {package}"
        assert importlib.util.find_spec(f"{package}.__main__") is not None
    assert container("export")["args"] == json.loads(last("CMD", "Dockerfile.export")) == ["--all"]


def test_the_broker_allows_what_the_schema_asks_of_it() -> None:
    broker = SERVICES["kafka"]["environment"]
    settings = compose_settings("schema").queue.kafka
    session_ms = settings.session_seconds * 1000
    assert broker["KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS"] <= session_ms
    assert broker["KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS"] * 3 <= session_ms
    assert f"PLAINTEXT://{settings.bootstrap[0]}" == broker["KAFKA_ADVERTISED_LISTENERS"]


def test_the_schema_is_applied_by_a_command_that_exists() -> None:
    command = SERVICES["schema"]["command"]
    assert command == container("schema")["args"] == ["embark", "schema", "apply"]
    module = importlib.import_module(f"embark.cli.{command[1]}")
    assert module in cli._COMMANDS
    for name in ("gateway", "consumer"):
        condition = SERVICES[name]["depends_on"]["schema"]["condition"]
        assert condition == "service_completed_successfully"


@pytest.mark.parametrize("path", sorted(DOCKER.glob("Dockerfile*")), ids=lambda path: path.name)
def test_copied_files_exist_and_are_in_the_build_context(path: Path) -> None:
    patterns = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    allowed = [one[1:] for one in patterns if one.startswith("!")]
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("COPY ") or "--from=" in line:
            continue
        *sources, _ = (word for word in line.split()[1:] if not word.startswith("--"))
        for source in map(Path, sources):
            assert (ROOT / source).exists(), source
            assert any(source.match(one) or Path(one) in source.parents for one in allowed), source


def test_scripts_can_be_executed() -> None:
    for name in ("start-gateway", "start-retina", "check"):
        assert (DOCKER / name).stat().st_mode & 0o111, name


def test_what_compose_mounts_and_builds_exists() -> None:
    for one in SERVICES.values():
        for volume in one.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
            elif not source.startswith("$"):
                assert source in COMPOSE["volumes"]
        if "build" in one:
            assert (DOCKER / one["build"]["context"] / one["build"]["dockerfile"]).is_file()
        assert set(one.get("networks", ["default"])) <= set(COMPOSE["networks"])
    (gpu,) = read_yaml(DOCKER / "compose.gpu.yaml")
    assert set(gpu["services"]) == {"retina"}


def test_kustomization_lists_every_file_and_image() -> None:
    (kustomization,) = read_yaml(BASE / "kustomization.yaml")
    files = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    images = {container(name)["image"] for name in ("gateway", "consumer", "retina", "schema")}
    assert {one["name"] for one in kustomization["images"]} == images
    assert images < {one.get("image") for one in SERVICES.values()}
    (patch,) = read_yaml(DOCKER / "kubernetes" / "gpu" / "retina.yaml")
    assert patch["metadata"]["name"] == manifest("Deployment", "retina")["metadata"]["name"]
    assert patch["spec"]["template"]["spec"]["containers"][0]["name"] == container("retina")["name"]


def test_requirements_are_those_of_the_extras_without_torch() -> None:
    for name, has, lacks in (
        ("gateway", "flask", "tritonclient"),
        ("consumers", "tritonclient", "flask"),
    ):
        text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")
        packages = set(re.findall(r"^([\w.-]+)==", text, flags=re.M))
        assert {"cassandra-driver", "confluent-kafka", has} <= packages
        forbidden = {"torch", "torchvision", "transformers", "onnx", "onnxruntime", lacks}
        assert not packages & forbidden
        assert not any(package.startswith("nvidia") for package in packages)


# Ports and health


def test_ports_are_those_of_the_settings() -> None:
    for read in (compose_settings, kubernetes_settings):
        assert (read("gateway").gateway.host, read("gateway").gateway.port) == ("0.0.0.0", 8080)
        consumer = read("consumer").consumer
        assert (consumer.status_host, consumer.status_port) == ("0.0.0.0", 8081)
        assert read("consumer").retina.url == f"retina:{PORTS['retina']}"
    flags = (DOCKER / "start-retina").read_text("utf-8")
    assert f"--grpc-port={PORTS['retina']}" in flags
    assert "--metrics-port=8002" in flags
    for name, port in PORTS.items():
        assert container(name)["ports"][0]["containerPort"] == port
        assert str(port) in last("EXPOSE", *IMAGES[name]).split()
    assert SERVICES["gateway"]["ports"] == ["127.0.0.1:8080:8080"]
    for name in ("gateway", "retina"):
        (port,) = manifest("Service", name)["spec"]["ports"]
        assert port["port"] == PORTS[name]
        assert port["targetPort"] in {one["name"] for one in container(name)["ports"]}


def test_probes_ask_what_exists(tmp_path: Path) -> None:
    with service(tmp_path) as opened:
        routes = {rule.rule for rule in opened.gateway.app.url_map.iter_rules()}
    paths = {"gateway": routes, "consumer": {status.LIVE, status.READY, status.METRICS}}
    for name, known in paths.items():
        assert "/metrics" in known
        asked = container(name)
        ports = {port["name"] for port in asked["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert asked[probe]["httpGet"]["path"] in known
            assert asked[probe]["httpGet"]["port"] in ports
        check = last("HEALTHCHECK", *IMAGES[name])
        (variable,) = re.findall(r"os\.environ\['(\w+)'\]", check)
        assert image_environment(*IMAGES[name])[variable] == str(PORTS[name])
        assert re.findall(r"'(/[\w/]+)'", check)[0] in known
    # An outage of what all gateways share must not take all of them out.
    for probe in ("readinessProbe", "livenessProbe"):
        assert container("gateway")[probe]["httpGet"]["path"] == "/v2/health/live"
        assert container("retina")[probe]["grpc"]["port"] == PORTS["retina"]


def test_prometheus_scrapes_the_ports_that_have_metrics() -> None:
    (config,) = read_yaml(DOCKER / "prometheus" / "prometheus.yaml")
    expected = {"gateway": 8080, "consumer": 8081, "retina": 8002}
    scraped = {}
    for job in config["scrape_configs"]:
        (target,) = job["dns_sd_configs"]
        assert target["names"] == [job["job_name"]]
        shared = set(SERVICES["prometheus"]["networks"]) & set(
            SERVICES[job["job_name"]]["networks"]
        )
        assert shared
        scraped[job["job_name"]] = target["port"]
    assert scraped == expected
    for name, port in expected.items():
        annotations = WORKLOADS[name]["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == str(port)
    jobs = {name for rule in RULES for name in re.findall(r'job="(\w+)"', rule["expr"])}
    assert jobs == set(expected)
    (source,) = read_yaml(DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")
    assert source["datasources"][0]["url"] == "http://prometheus:9090"


# Ending


def test_there_is_time_to_drain() -> None:
    exits = re.search(r"--exit-timeout-secs=(\d+)", (DOCKER / "start-retina").read_text("utf-8"))
    assert exits
    drains = {
        "gateway": gateway_main._DRAIN_SECONDS,
        "consumer": worker._DRAIN_SECONDS,
        "retina": int(exits[1]),
    }
    for name, seconds in drains.items():
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= seconds + 10
        before = container(name).get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        left = pod(name)["terminationGracePeriodSeconds"] - before.get("seconds", 0)
        assert left >= seconds + 10


# Confinement


@pytest.mark.parametrize("name", IMAGES)
def test_images_run_as_nobody_in_particular(name: str) -> None:
    assert last("USER", *IMAGES[name]) == f"{USER}:{USER}"
    confined = SERVICES[name]
    assert confined["read_only"] is True
    assert confined["cap_drop"] == ["ALL"]
    assert confined["security_opt"] == ["no-new-privileges:true"]
    assert not confined.get("privileged")


@pytest.mark.parametrize("name", WORKLOADS)
def test_pods_are_confined_and_bounded(name: str) -> None:
    context = pod(name)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert (context["runAsUser"], context["fsGroup"]) == (USER, USER)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(name)["automountServiceAccountToken"] is False
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for bound in ("requests", "limits"):
        assert {"cpu", "memory"} <= set(container(name)["resources"][bound])
    volumes = {one["name"] for one in pod(name)["volumes"]}
    assert {one["name"] for one in container(name)["volumeMounts"]} == volumes
    if WORKLOADS[name]["kind"] == "Deployment":
        assert manifest("PodDisruptionBudget", name)["spec"]["selector"] == {
            "matchLabels": WORKLOADS[name]["spec"]["template"]["metadata"]["labels"]
        }
        assert pod(name)["topologySpreadConstraints"]


def test_the_metrics_folder_of_the_gateway_can_be_written() -> None:
    start = (DOCKER / "start-gateway").read_text("utf-8")
    (found,) = re.findall(rf"export {metrics.SHARED_FOLDER}=(\S+)", start)
    # The schema job runs the same image and has no such folder.
    assert metrics.SHARED_FOLDER not in image_environment("Dockerfile", "gateway")
    parent = Path(found).parent
    assert parent in {Path(one["mountPath"]) for one in container("gateway")["volumeMounts"]}
    assert any(one.startswith(f"{parent}:") for one in SERVICES["gateway"]["tmpfs"])


def test_triton_is_private_in_compose() -> None:
    (gpu,) = read_yaml(DOCKER / "compose.gpu.yaml")
    for one in (SERVICES["retina"], gpu["services"]["retina"]):
        assert "ports" not in one
        assert "network_mode" not in one
    assert SERVICES["retina"]["networks"] == ["retina"]
    assert COMPOSE["networks"]["retina"] == {"internal": True}
    inside = {name for name, one in SERVICES.items() if "retina" in one.get("networks", [])}
    assert inside == {"retina", "consumer", "prometheus"}
    for name, one in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", [])), name


def test_triton_is_private_in_kubernetes() -> None:
    assert not any(one["kind"] in ("Ingress", "HTTPRoute", "GRPCRoute") for one in MANIFESTS)
    assert manifest("Service", "retina")["spec"]["type"] == "ClusterIP"
    assert manifest("NetworkPolicy", "nothing-passes")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    reached = [
        rule
        for one in MANIFESTS
        if one["kind"] == "NetworkPolicy" and selects(one["spec"]["podSelector"], "retina")
        for rule in one["spec"].get("ingress", [])
    ]
    monitoring = {"namespaceSelector": {"matchLabels": {"embark.io/monitoring": "true"}}}
    consumers = {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "consumer"}}}
    assert reached == [
        {"from": [consumers], "ports": [{"protocol": "TCP", "port": 8001}]},
        {"from": [monitoring], "ports": [{"protocol": "TCP", "port": 8002}]},
    ]
    assert manifest("NetworkPolicy", "retina")["spec"]["egress"] == []


def selects(selector: dict[str, Any], component: str) -> bool:
    label = "app.kubernetes.io/component"
    found = selector.get("matchLabels", {}).get(label, component) == component
    return found and all(
        component in one["values"]
        for one in selector.get("matchExpressions", [])
        if one["key"] == label
    )


def test_triton_answers_nothing_but_inference_and_health() -> None:
    flags = (DOCKER / "start-retina").read_text("utf-8")
    assert "--model-control-mode=none" in flags
    assert "--http-address=127.0.0.1" in flags
    (closed,) = re.findall(r"--grpc-restricted-protocol=\"([\w,-]+):", flags)
    assert {"shared-memory", "model-repository", "trace", "logging"} <= set(closed.split(","))


def test_consumers_reach_data_retina_and_public_addresses_only() -> None:
    settings = kubernetes_settings("consumer")
    (host,) = settings.archive.cassandra.contact_points
    (broker,) = settings.queue.kafka.bootstrap
    wanted = {
        host.split(".")[1]: settings.archive.cassandra.port,
        broker.split(".")[1]: int(broker.rpartition(":")[2]),
    }
    opened = {}
    for rule in manifest("NetworkPolicy", "data")["spec"]["egress"]:
        (to,), (port,) = rule["to"], rule["ports"]
        labels = to["namespaceSelector"]["matchLabels"]
        opened[labels["kubernetes.io/metadata.name"]] = port["port"]
    assert opened == wanted
    retina, public = manifest("NetworkPolicy", "consumer")["spec"]["egress"]
    assert retina["ports"] == [{"protocol": "TCP", "port": PORTS["retina"]}]
    blocks = {one["ipBlock"]["cidr"]: set(one["ipBlock"]["except"]) for one in public["to"]}
    assert blocks == {
        "0.0.0.0/0": {str(network) for network in addresses._REFUSED_V4},
        str(addresses._UNICAST_V6): {str(network) for network in addresses._REFUSED_V6},
    }


# Scaling


def test_consumers_scale_on_the_lag_of_both_lanes() -> None:
    settings = kubernetes_settings("consumer").queue.kafka
    topics = Topics(settings.prefix)
    spec = manifest("ScaledObject", "consumer")["spec"]
    assert spec["scaleTargetRef"]["name"] == manifest("Deployment", "consumer")["metadata"]["name"]
    assert spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
    assert spec["maxReplicaCount"] <= settings.partitions
    scaled = {}
    for trigger in spec["triggers"]:
        found = trigger["metadata"]
        scaled[trigger["name"]] = (found["topic"], found["consumerGroup"])
        assert found["bootstrapServersFromEnv"] in settings_file()
        assert (found["tls"] == "enable") == settings.tls.enabled
        assert found["sasl"] == settings.mechanism.lower().replace("sha-", "sha").replace("-", "_")
        assert trigger["authenticationRef"]["name"] == "kafka"
    assert scaled == {lane.value: (topics.requests(lane), topics.group(lane)) for lane in Lane}
    access = manifest("TriggerAuthentication", "kafka")["spec"]
    assert [one["name"] for one in access["env"]] == ["EMBARK_QUEUE__KAFKA__USER"]
    keys = {one["parameter"]: (one["name"], one["key"]) for one in access["secretTargetRef"]}
    assert keys["password"] == ("embark", "EMBARK_QUEUE__KAFKA__PASSWORD")
    assert keys["ca"] == ("embark-authorities", settings.tls.authority.name)  # type: ignore[union-attr]


def test_what_is_scaled_states_no_number_of_its_own() -> None:
    assert (
        manifest("HorizontalPodAutoscaler", "gateway")["spec"]["scaleTargetRef"]["name"]
        == (manifest("Deployment", "gateway")["metadata"]["name"])
    )
    for name in ("gateway", "consumer"):
        assert "replicas" not in manifest("Deployment", name)["spec"]


# Retina


def test_encoders_have_the_configuration_that_triton_is_told_to_use() -> None:
    flags = (DOCKER / "start-retina").read_text("utf-8")
    (name,) = re.findall(r'--model-config-name="\$\{RETINA_CONFIG:-(\w+)\}"', flags)
    encoders = sorted((ROOT / "model_repository").glob("*_encoder"))
    assert encoders
    for encoder in encoders:
        assert f'backend: "{name}"' in (encoder / "configs" / f"{name}.pbtxt").read_text("utf-8")


def test_the_retina_image_has_what_the_fronts_import() -> None:
    imported = set()
    for path in (ROOT / "export" / "serving").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(str(node.module).partition(".")[0])
    # Triton's own module, and what only the Python encoder needs, which is not used there.
    foreign = imported - {"triton_python_backend_utils", "onnxruntime"}
    installed = last("RUN", "Dockerfile.retina")
    packages = {"numpy": "numpy", "PIL": "Pillow", "tokenizers": "tokenizers"}
    assert foreign & set(packages) == set(packages)
    assert all(f" {package} " in installed for package in packages.values())
    locked = (ROOT / "requirements" / "retina.txt").read_text("utf-8").lower()
    assert all(f"\n{package.lower()}==" in locked for package in packages.values())


# Metrics


def known_series() -> dict[str, set[str]]:
    """Every series that the code exposes, with its labels."""
    found: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            suffixes: dict[str | None, list[str]] = {
                "counter": ["_total"],
                "histogram": ["_bucket", "_count", "_sum"],
                "summary": ["_count", "_sum"],
            }
            for suffix in suffixes.get(metric._type, [""]):
                bucket = {"le"} if suffix == "_bucket" else set()
                found[metric._name + suffix] = bucket | set(metric._labelnames)
    return found


def expressions() -> Iterator[str]:
    for rule in RULES:
        yield rule["expr"]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            for target in panel.get("targets", []):
                yield target["expr"]
    (tests,) = read_yaml(DOCKER / "prometheus" / "rules.test.yaml")
    for test in tests["tests"]:
        for series in test["input_series"]:
            yield series["series"]


def test_alerts_and_dashboards_name_metrics_and_labels_that_exist() -> None:
    known = known_series()
    named = set()
    for expression in expressions():
        for name, selector in re.findall(r"\b(embark_\w+)(?:\{([^}]*)\})?", expression):
            assert name in known, name
            labels = set(re.findall(r"(\w+)\s*[=!]~?", selector)) - {"instance", "job"}
            assert labels <= known[name], (name, labels)
            named.add(name)
        for grouping in re.findall(r"\bby \(([\w, ]+)\)", expression):
            labels = set(grouping.replace(" ", "").split(",")) - {"le"}
            assert any(labels <= known[name] for name in re.findall(r"\bembark_\w+", expression)), (
                expression
            )
    assert named


def test_every_alert_is_tested() -> None:
    text = (DOCKER / "prometheus" / "rules.test.yaml").read_text("utf-8")
    for rule in RULES:
        assert re.search(rf"\b{rule['alert']}\b", text), rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_grafana_shows_the_dashboards_that_compose_mounts() -> None:
    (provider,) = read_yaml(DOCKER / "grafana" / "provisioning" / "dashboards" / "embark.yaml")
    folder = provider["providers"][0]["options"]["path"]
    volumes = SERVICES["grafana"]["volumes"]
    assert f"./grafana/dashboards:{folder}:ro" in volumes
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).name in {path.name for path in DASHBOARDS}
    assert Path(home).parent == Path(folder)
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            if panel["type"] != "row":
                assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
