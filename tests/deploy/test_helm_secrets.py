"""The secrets that the chart makes are fit for production, as the containers read them."""

from base64 import b64decode

import pytest

from app.production.rules import complaints
from app.settings import Settings
from tests.support.helm import NAME, container, pods, rendered


def made(*arguments: str) -> dict[str, str]:
    data = rendered(*arguments)["Secret", ""]["data"]
    return {key: b64decode(value).decode() for key, value in data.items()}


def test_production_starts_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    values = made()
    for variable in container(pods(rendered())["api"])["env"]:
        name, value = variable["name"], variable["value"]
        if name.endswith("_FILE"):
            value = values[value.removeprefix("/run/secrets/")]
        monkeypatch.setenv(name.removesuffix("_FILE"), value)
    settings = Settings()
    assert settings.environment == "production"
    assert complaints(settings) == []
    assert settings.auth.secret is not None and settings.openai_api_key is None


def test_addresses_name_the_servers_of_the_release() -> None:
    values = made()
    app, owner = values["app_password"], values["owner_password"]
    assert values["database_url"] == (
        f"postgresql://citestream_app:{app}@{NAME}-postgres:5432/citestream"
    )
    assert values["database_owner_url"] == (
        f"postgresql://citestream_owner:{owner}@{NAME}-postgres:5432/citestream"
    )
    assert values["redis_url"] == f"redis://:{values['redis_password']}@{NAME}-redis:6379/0"
    assert len(set(values.values()) - {""}) == len([value for value in values.values() if value])


def test_an_uninstall_leaves_them() -> None:
    annotations = rendered()["Secret", ""]["metadata"]["annotations"]
    assert annotations["helm.sh/resource-policy"] == "keep"


def test_those_of_ones_own_are_not_made_again() -> None:
    manifests = rendered("--set", "secrets.existing=mine")
    assert ("Secret", "") not in manifests
    for part, pod in pods(manifests).items():
        for volume in pod["spec"]["volumes"]:
            assert volume.get("secret", {}).get("secretName", "mine") == "mine", part


def test_what_is_given_is_taken() -> None:
    values = made("--set", "secrets.openaiApiKey=sk-given")
    assert (values["openai_api_key"], values["mistral_api_key"]) == ("sk-given", "")
