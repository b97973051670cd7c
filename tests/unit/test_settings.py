"""A wrong setting is refused by its name; a right one is never shown where it is secret."""

from typing import Any

import pytest

from app.settings import ConfigurationError, Settings


def settings(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CITESTREAM_TYPO", "1"),
        ("CITESTREAM_LOG_LEVEL", "verbos"),
        ("CITESTREAM_LOG_LEVEL__TYPO", "1"),
        ("CITESTREAM_DATA__TYPO", "1"),
        ("CITESTREAM_CACHE__TYPO", "1"),
        ("CITESTREAM_DRAIN_SECONDS", "inf"),
        ("CITESTREAM_PROVIDER__TOTAL_SECONDS", "inf"),
        ("DATABASE_URL", "postgresql+asyncpg://secret@host/name"),
        ("DATABASE_OWNER_URL", "secret"),
        ("REDIS_URL", "secret:6379"),
        ("OPENAI_BASE_URL", "secret:11434/v1"),
        ("OPENAI_BASE_URL", "secret.example.com/v1"),
        ("OPENAI_BASE_URL", "http:///secret"),
        ("OPENAI_BASE_URL", "http://secret:port/v1"),
        ("OPENAI_BASE_URL", "http://secret/v1 "),
        ("MISTRAL_SERVER_URL", "ftp://secret/v1"),
        ("MISTRAL_SERVER_URL", "//secret/v1"),
        ("PORT", "many"),
        ("CITESTREAM_WORKERS", "-1"),
        ("CITESTREAM_WORKERS", "88"),
    ],
)
def test_what_would_do_nothing_or_harm_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    with pytest.raises(ConfigurationError, match=variable) as refused:
        settings(monkeypatch, {variable: value})
    assert "secret" not in str(refused.value)


def test_a_models_address_without_a_scheme_is_told_with_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = "^OPENAI_BASE_URL: it begins with http:// or https:// and a host, as https://.* does.$"
    with pytest.raises(ConfigurationError, match=told):
        settings(monkeypatch, {"OPENAI_BASE_URL": "localhost:11434/v1"})


def test_a_section_that_is_not_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="cache"):
        settings(monkeypatch, {"CITESTREAM_CACHE": "on"})


@pytest.mark.parametrize(
    ("variables", "name", "value"),
    [
        ({"REDIS_URL": ""}, "redis_url", None),
        ({"PORT": ""}, "port", 8000),
        ({"PORT": "0"}, "port", 0),
        ({"CITESTREAM_LOG_LEVEL": "WARNING"}, "log_level", "WARNING"),
        ({"REDIS_URL": "unix:///run/valkey.sock"}, "redis_url", "unix:///run/valkey.sock"),
        ({"DATABASE_URL": "postgres://a@/b"}, "database_url", "postgres://a@/b"),
        ({"OPENAI_BASE_URL": ""}, "openai_base_url", None),
        ({"OPENAI_BASE_URL": "HTTP://[::1]:9/v1"}, "openai_base_url", "HTTP://[::1]:9/v1"),
        ({"MISTRAL_SERVER_URL": "https://u:p@h/?a=b"}, "mistral_server_url", "https://u:p@h/?a=b"),
    ],
)
def test_what_is_read(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str, value: Any
) -> None:
    assert getattr(settings(monkeypatch, variables), name) == value


def test_sections_are_read_from_nested_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings(
        monkeypatch,
        {"CITESTREAM_CACHE__TIMEOUT_SECONDS": "0.1", "CITESTREAM_NEXT_ENCODER__URL": "http://h"},
    )
    assert read.cache.timeout_seconds == 0.1
    assert read.next_encoder is not None
    assert read.next_encoder.url == "http://h"


def test_no_secret_is_in_the_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings(
        monkeypatch,
        {
            "DATABASE_URL": "postgresql://app:planted1@host/name",
            "DATABASE_OWNER_URL": "postgresql://owner:planted2@host/name",
            "REDIS_URL": "redis://:planted3@host",
            "OPENAI_API_KEY": "planted4",
            "MISTRAL_API_KEY": "planted5",
            "CITESTREAM_ENCODER__API_KEY": "planted6",
        },
    )
    assert "planted" not in repr(read) + str(read)
