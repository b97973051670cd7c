"""The Helm chart, as Helm itself renders it: Kubernetes takes it, and it is what Compose starts."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import refuse_unknown
from tests.support.helm import CHART, NAME, Manifest, container, helm, pods, rendered, secrets_of

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
URLS = ("databaseUrl=postgresql://a:b@pg/c", "databaseOwnerUrl=postgresql://o:b@pg/c")
OWN_SERVERS = (
    *("--set", "postgres.enabled=false", "--set", "redis.enabled=false"),
    *("--set", f"secrets.{URLS[0]}", "--set", f"secrets.{URLS[1]}"),
    *("--set", "secrets.redisUrl=rediss://:secret@cache/0"),
)
EVERYTHING = (
    *("--set", "api.autoscaling.enabled=true", "--set", "nginx.tlsSecret=certificate"),
    *("--set", "nginx.trustedProxies={10.0.0.0/8}", "--set", "imagePullSecrets[0].name=pull"),
    *("--set", "settings.OPENAI_MODEL=gpt-4o", "--set", "postgres.storageClass=fast"),
    *("--set", "networkPolicy.metricsFrom.name=monitoring", "--set", "image.tag=v2"),
    *("--set", "nginx.service.annotations.a=b", "--set", "secrets.existing=mine"),
)
VARIANTS = pytest.mark.parametrize(
    "arguments",
    [(), OWN_SERVERS, EVERYTHING, ("--is-upgrade",)],
    ids=["default", "own servers", "everything", "upgrade"],
)
PARTS = pytest.mark.parametrize("part", list(SERVICES))


def default(value: object) -> str:
    """What Compose makes of a value where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))


def environment(part: Manifest) -> dict[str, str]:
    return {each["name"]: each["value"] for each in part.get("env", ())}


@cache
def validated(manifest: str, version: str) -> None:
    """Once for all variants that have it: for each the schemas of everything are read again."""
    kubernetes_validate.validate(json.loads(manifest), version, strict=True)


@VARIANTS
def test_helm_finds_nothing_to_object_to(arguments: tuple[str, ...]) -> None:
    values = [each for each in arguments if each != "--is-upgrade"]
    done = helm("lint", "--strict", str(CHART), *values)
    assert done.returncode == 0, done.stdout + done.stderr


@VARIANTS
@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_kubernetes_knows_every_field(arguments: tuple[str, ...], version: str) -> None:
    for manifest in rendered(*arguments).values():
        validated(json.dumps(manifest), version)


@VARIANTS
def test_what_is_named_is_there(arguments: tuple[str, ...]) -> None:
    manifests = rendered(*arguments)
    maps = {each["metadata"]["name"]: each for each in manifests.values()}
    for part, pod in pods(manifests).items():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        inside = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
        mounted = {mount["name"] for each in inside for mount in each["volumeMounts"]}
        claimed = {"data"} if part == "postgres" else set()
        assert mounted == volumes.keys() | claimed, part
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
        for key in secrets_of(pod) - {"tls_certificate", "tls_key"}:
            assert "mine" in str(volumes["secrets"]) or key in manifests["Secret", ""]["data"]
        for each in inside:
            files = {k: v for k, v in environment(each).items() if k.endswith("_FILE")}
            assert {Path(value).name for value in files.values()} <= secrets_of(pod)
            refuse_unknown({k.removesuffix("_FILE"): v for k, v in environment(each).items()})


@VARIANTS
def test_selectors_find_their_pods(arguments: tuple[str, ...]) -> None:
    manifests = rendered(*arguments)
    labels = [pod["metadata"]["labels"].items() for pod in pods(manifests).values()]
    for (kind, name), manifest in manifests.items():
        spec = manifest.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if selector and kind != "Job":
            wanted = selector.get("matchLabels", selector).items()
            assert sum(wanted <= each for each in labels) == 1, (kind, name)


@VARIANTS
def test_a_pod_is_no_root_and_writes_nowhere(arguments: tuple[str, ...]) -> None:
    manifests = rendered(*arguments)
    assert manifests["ServiceAccount", ""]["automountServiceAccountToken"] is False
    for part, pod in pods(manifests).items():
        spec = pod["spec"]
        assert spec["serviceAccountName"] == NAME
        assert spec["automountServiceAccountToken"] is False, part
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] >= 999
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in [*spec["containers"], *spec.get("initContainers", ())]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert each["resources"]["limits"]["memory"]


def test_what_serves_says_how_it_is() -> None:
    for part, pod in pods(rendered()).items():
        serves = "ports" in container(pod)
        assert serves is (part not in ("migrate", "indexes", "worker"))
        for probe in ("readinessProbe", "livenessProbe"):
            assert (probe in container(pod)) is serves, (part, probe)


def test_it_has_the_parts_of_compose() -> None:
    assert pods(rendered()).keys() == SERVICES.keys()
    assert pods(rendered(*OWN_SERVERS)).keys() == SERVICES.keys() - {"postgres", "redis"}


@PARTS
def test_a_part_has_the_image_and_the_secrets_it_has_there(part: str) -> None:
    pod, service = pods(rendered())[part], SERVICES[part]
    assert container(pod)["image"] == default(service["image"])
    assert secrets_of(pod) == set(service.get("secrets", ()))


@PARTS
def test_a_part_has_the_settings_it_has_there(part: str) -> None:
    there = {name: default(value) for name, value in SERVICES[part].get("environment", {}).items()}
    if "CITESTREAM_ENCODER__URL" in there:
        there["CITESTREAM_ENCODER__URL"] = f"http://{NAME}-encoder:8765"
    assert environment(container(pods(rendered())[part])) == there


@PARTS
def test_a_part_may_have_the_memory_it_has_there(part: str) -> None:
    limit = container(pods(rendered())[part])["resources"]["limits"]["memory"]
    there = default(SERVICES[part]["mem_limit"])
    assert limit == there.replace("g", "Gi").replace("m", "Mi")


def test_commands_are_those_of_compose() -> None:
    found = pods(rendered())
    assert container(found["migrate"])["args"] == SERVICES["migrate"]["command"]
    assert container(found["worker"])["args"] == SERVICES["worker"]["command"]
    assert container(found["indexes"])["command"] == SERVICES["indexes"]["entrypoint"]
    assert container(found["redis"])["command"] == SERVICES["redis"]["entrypoint"]
    assert container(found["postgres"])["command"] == SERVICES["postgres"]["entrypoint"]
    assert container(found["postgres"])["args"] == [
        default(each) for each in SERVICES["postgres"]["command"]
    ]


@pytest.mark.parametrize("part", ["postgres", "redis"])
def test_servers_start_with_the_scripts_of_compose(part: str) -> None:
    files = rendered()["ConfigMap", part]["data"]
    pod = container(pods(rendered())[part])
    for volume in SERVICES[part]["volumes"]:
        source, target, *_ = volume.split(":")
        if source.startswith("./"):
            [mount] = [each for each in pod["volumeMounts"] if each["mountPath"] == target]
            assert files[mount["subPath"]].strip() == (ROOT / source).read_text().strip()


@pytest.mark.parametrize(("arguments", "server"), [((), "server"), (EVERYTHING, "tls")])
def test_nginx_is_configured_as_shipped(arguments: tuple[str, ...], server: str) -> None:
    data = rendered(*arguments)["ConfigMap", "nginx"]["data"]
    shipped = {path.name: path.read_text() for path in (ROOT / "nginx").iterdir()}
    assert data.keys() == shipped.keys()
    shipped["server.conf"] = shipped[f"{server}.conf"]
    for name, text in data.items():
        expected = shipped[name].replace("server api:", f"server {NAME}-api:")
        expected = expected.replace("ahostsv4 api ", f"ahostsv4 {NAME}-api ")
        assert text.strip().startswith(expected.strip()), name
    added = data["clients.conf"].strip().removeprefix(shipped["clients.conf"].strip()).split("\n")
    assert ("set_real_ip_from 10.0.0.0/8;" in added) is (arguments == EVERYTHING)
    assert f"{NAME}-api:8000" in data["replicas.conf"]
    assert f"getent ahostsv4 {NAME}-api |" in data["start"]


def test_nginx_is_the_only_one_that_everybody_reaches() -> None:
    policies = {name: each for (kind, name), each in rendered().items() if kind == "NetworkPolicy"}
    assert policies.keys() == SERVICES.keys()
    for part, policy in policies.items():
        everybody = any("from" not in rule for rule in policy["spec"]["ingress"])
        assert everybody is (part == "nginx")
        on_no_network_outside = "edge" not in SERVICES[part]["networks"]
        if on_no_network_outside and part not in ("indexes", "migrate", "worker"):
            assert policy["spec"]["egress"] == [], part


def test_the_schema_is_migrated_before_an_upgrade_and_beside_an_install() -> None:
    [first] = [each for (kind, _), each in rendered().items() if kind == "Job"]
    [later] = [each for (kind, _), each in rendered("--is-upgrade").items() if kind == "Job"]
    assert "annotations" not in first["metadata"]
    assert later["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    for part in ("api", "indexes", "worker"):
        [waits] = pods(rendered())[part]["spec"]["initContainers"]
        assert waits["args"] == ["migrate", "--wait"]
        assert "DATABASE_OWNER_URL_FILE" not in environment(waits)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ("nginx.replica=3", "'replica' not allowed"),
        ("settings.OPENAI_API_KEY=x", "OPENAI_API_KEY"),
        ("settings.CITESTREAM_AUTH__SECRET=x", "CITESTREAM_AUTH__SECRET"),
        ("settings.CITESTREAM_ENVIRONMENT=development", "CITESTREAM_ENVIRONMENT"),
        ("postgres.enabled=false", "set secrets.databaseUrl (role citestream_app)"),
        ("postgres.sharedBuffers=lots", "sharedBuffers"),
    ],
)
def test_wrong_values_are_refused(values: str, sentence: str) -> None:
    done = helm("template", "site", str(CHART), "--set", values)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_the_notes_tell_the_next_steps() -> None:
    done = helm("install", "site", str(CHART), "--namespace", "here", "--dry-run=client")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert f"rollout status deployment/{NAME}-api" in notes
    assert "citestream key --tenant default" in notes
    assert "agent_kms_key" in notes
