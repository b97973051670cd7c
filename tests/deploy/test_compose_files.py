"""What docker-compose.yml promises of every service, and that .env.example explains all of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import refuse_unknown

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
TLS = (ROOT / "docker-compose.tls.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
EVERY = pytest.mark.parametrize("name", SERVICES)


def explained() -> dict[str, str]:
    """The variables of .env.example, those behind a # as well."""
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE, re.MULTILINE))


def test_only_nginx_is_published() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]


@EVERY
def test_a_service_is_bounded_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    once_or_idle = name in ("migrate", "indexes", "worker")
    assert ("healthcheck" in service) is not once_or_idle


@EVERY
def test_a_service_is_no_root_and_writes_nowhere(name: str) -> None:
    if name == "postgres":  # its image starts as root and goes on as another user
        return
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["user"].startswith("${SERVICE_UID:-10001}")


def test_no_secret_is_a_variable() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            telling = re.search("PASSWORD|KEY|SECRET|_URL", variable)
            harmless = variable.endswith("_FILE") or "@" not in str(value)
            assert not telling or harmless, (name, variable)
            if variable.endswith("_FILE"):
                assert Path(value).name in service["secrets"], (name, variable)


def test_every_secret_is_made_by_make_up() -> None:
    making = (ROOT / "deploy/compose/secrets.sh").read_text()
    made = set(re.findall(r"^secret (\w+)", making, re.MULTILINE))
    assert made == set(yaml.safe_load(COMPOSE)["secrets"])


@pytest.mark.parametrize("name", ["api", "indexes", "migrate", "worker"])
def test_what_runs_our_code_with_secrets_runs_it_for_production(name: str) -> None:
    assert SERVICES[name]["environment"]["CITESTREAM_ENVIRONMENT"] == "production"


def test_every_variable_is_explained_with_its_default() -> None:
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE + TLS))
    said = explained()
    assert used.keys() <= said.keys()
    assert {name: said[name] for name in used} == used


def test_every_explained_variable_is_one() -> None:
    refuse_unknown(explained())
    known = re.findall(r"\$\{(\w+):-", COMPOSE + TLS)
    service = ("OPENAI_", "MISTRAL_", "CITESTREAM_")
    others = ("COMPOSE_FILE", "ALLOW_PRIVATE_HOSTS")
    for name in explained():
        assert name in known or name.startswith(service) or name in others, name


def test_git_takes_neither_secrets_nor_env() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {".env", "secrets/"} <= set(ignored)
