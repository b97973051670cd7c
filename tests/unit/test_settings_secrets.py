"""Which settings are secrets: every one that holds a key, and the passwords in addresses."""

import pytest

from app.settings import Settings
from app.settings.secrets import secrets_of


def test_every_secret_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "DATABASE_URL": "postgresql://app:data%40base@db/x?password=in-query",
        "REDIS_URL": "redis://:of-redis@cache",
        "OPENAI_API_KEY": "of-openai",
        "OPENAI_BASE_URL": "https://user:of-base-url@models.test/v1",
        "MISTRAL_SERVER_URL": "https://as-a-user@models.test/v1",
        "AGENT_KMS_KEY": "first-kms, second-kms",
        "CITESTREAM_ENCODER__API_KEY": "of-encoder",
        "CITESTREAM_NEXT_ENCODER__URL": "http://127.0.0.1:1",
        "CITESTREAM_NEXT_ENCODER__API_KEY": "of-next",
        "CITESTREAM_RERANKER__API_KEY": "of-reranker",
        "CITESTREAM_AUTH__SECRET": "of-tokens-".ljust(32, "x"),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert secrets_of(Settings()) == {
        "data%40base", "data@base", "in-query", "of-redis", "of-openai", "of-base-url",
        "as-a-user", "first-kms, second-kms", "first-kms", "second-kms", "of-encoder", "of-next",
        "of-reranker", "of-tokens-".ljust(32, "x"),
    }  # fmt: skip


def test_without_any_there_is_none() -> None:
    assert secrets_of(Settings(openai_base_url="http://127.0.0.1:1/v1")) == frozenset()
