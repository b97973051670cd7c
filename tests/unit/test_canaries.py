"""What looks for planted secrets finds them, in every form and place."""

import base64
import json
from urllib.parse import quote

import pytest

from app.telemetry.spans import plain_path
from tests.support.canaries import Canaries, Told, with_password


def test_each_secret_is_found_as_it_is() -> None:
    secrets = Canaries(given={"api_key": "cs_given"})
    for name, secret in secrets.named():
        told = Told()
        told.add("here", f"before {secret} behind".encode())
        told.add("there", "nothing")
        assert secrets.found(told) == [(name, "here")]


@pytest.mark.parametrize(
    "form",
    [
        lambda text: quote(text, ""),
        json.dumps,
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: text.split()[3],  # the word that is like no other
    ],
)
def test_a_question_is_found_however_it_is_written(form: object) -> None:
    secrets, told = Canaries(), Told()
    assert callable(form)
    told.add("here", form(secrets.question))
    assert secrets.found(told) == [("question", "here")]


def test_addresses_with_passwords() -> None:
    local = "postgresql://app@/db?host=/tmp/x&port=5432"
    assert with_password(local, "pw") == "postgresql://app:pw@/db?host=/tmp/x&port=5432"
    assert with_password("unix:///tmp/redis.sock", "pw", "me") == "unix://me:pw@/tmp/redis.sock"


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/api/agents/12/chat/stream", "/api/agents/12/chat/stream"),
        ("/openapi.json", "/openapi.json"),
        ("/", "/"),
        (
            "/api/runs/01890000-0000-7000-8000-000000000001/events",
            "/api/runs/01890000-0000-7000-8000-000000000001/events",
        ),
        ("/api/agents/cs_0123/x", "/api/agents/REDACTED/x"),
        ("/api/agents/Who?", "/api/agents/REDACTED"),
        ("/api/" + "a" * 40, "/api/REDACTED"),
    ],
)
def test_a_trace_has_words_and_ids_of_a_path(path: str, plain: str) -> None:
    assert plain_path(path) == plain
