"""Traces as a collector receives them, of a service on real servers and a model over a socket."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest

from app.telemetry.tracing import Tracing, open_tracing
from tests.support.collector import Collector, SpanSeen
from tests.support.live import Live, live_service, unique
from tests.support.vendors import Script, VendorServer

KEY = "sk-nobody-may-see-this"
DOCUMENT = "Atlas is a dashboard. It was finished in 2021 by Annabella Ruiz, in xylographic haste."
QUESTION = "Who finished the Atlas dashboard before the quokkas came?"
ANSWER = ["Annabella", " Ruiz", " and her ocelot", " did [1]."]
WHOLE, STREAM = "POST /api/agents/{agent_id}/chat", "POST /api/agents/{agent_id}/chat/stream"
INTERNAL, SERVER, CLIENT = 1, 2, 3
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@dataclass
class Traced:
    """What was asked of a service, and what reached its collector, its model and its encoder."""

    collector: Collector
    vendor: VendorServer
    encoder: bytearray
    agent: int
    streamed: list[Any]

    def requests(self, name: str) -> list[SpanSeen]:
        """The spans of these requests, in their order."""
        return sorted(self.collector.named(name), key=lambda span: span.began)

    def below(self, span: SpanSeen) -> dict[str, SpanSeen]:
        """All that is part of it, by name."""
        found: dict[str, SpanSeen] = {}
        for child in self.collector.children(span):
            found |= {child.name: child, **self.below(child)}
        return found


@asynccontextmanager
async def listened(path: str, heard: bytearray) -> AsyncIterator[str]:
    """The address of a relay to a Unix socket, which keeps what clients say."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_unix_connection(path)

        async def back() -> None:
            while data := await there.read(65536):
                writer.write(data)

        answering = asyncio.create_task(back())
        try:
            while data := await reader.read(65536):
                heard.extend(data)
                to.write(data)
        finally:
            answering.cancel()
            to.close()
            writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def ask_everything(live: Live, vendor: VendorServer) -> tuple[int, list[Any]]:
    """A question streamed within a caller's trace, the same again from the cache, one whose model
    fails, one to no model, and what nobody wants to see."""
    portfolio = await live.portfolio(unique("docs"), Atlas=DOCUMENT)
    agent = await live.agent(unique("agent"), portfolio, provider="openai", model="small-1")
    live.http.headers["traceparent"] = f"00-{TRACE}-{CALLER}-01"
    streamed = await live.stream(agent, QUESTION)
    del live.http.headers["traceparent"]
    vendor.script = Script(tokens=["no"], fault="error", fault_after=1)
    assert (await live.ask(agent, QUESTION))["cached"]
    path = f"/api/agents/{agent}/chat"
    failed = await live.http.post(path, json={"message": QUESTION, "cache": "off"})
    assert failed.status_code >= 500
    extractive = await live.agent(unique("agent"), portfolio, provider="extractive")
    await live.ask(extractive, QUESTION)
    await live.http.get("/healthz")
    await live.http.get("/metrics")
    await live.http.get("/api/agents", params={"limit": 5, "message": QUESTION})
    body = {"query": QUESTION, "portfolio_id": portfolio}
    await live.json("POST", "/api/retrieve", json=body)
    return agent, streamed


@pytest.fixture(scope="module")
async def traced(connections: dict[str, Any]) -> AsyncIterator[Traced]:
    heard = bytearray()
    socket_path = unquote(connections["encoder"]["url"].partition("://")[2])
    with Collector() as collector:
        async with VendorServer() as vendor, listened(socket_path, heard) as encoder:
            vendor.script = Script(tokens=ANSWER)
            models = {"openai_api_key": KEY, "openai_base_url": vendor.openai_url}
            tracing = open_tracing(collector.url)
            settings = {**connections, **models}
            settings["encoder"] = {"url": encoder}
            async with live_service(**settings, tracing=tracing) as live:
                agent, streamed = await ask_everything(live, vendor)
            await tracing.aclose()
            yield Traced(collector, vendor, heard, agent, streamed)


async def test_a_request_goes_on_in_its_callers_trace(traced: Traced) -> None:
    (request,) = traced.requests(STREAM)
    assert (request.trace, request.parent, request.kind) == (TRACE, CALLER, SERVER)
    assert request.attributes["http.route"] == STREAM.removeprefix("POST ")
    assert request.attributes["http.response.status_code"] == 200
    assert not request.failed
    assert request.resource["service.name"] == "citestream"
    assert traced.collector.paths == ["/v1/traces"] * len(traced.collector.paths)


async def test_every_stage_of_an_answer_is_within_it(traced: Traced) -> None:
    (request,) = traced.requests(STREAM)
    found = traced.below(request)
    stages = {"load", "analyze", "cache", "retrieve", "fuse", "prompt", "begin", "persist"}
    sources = {"vector", "keyword", "graph", "domain"}
    assert stages | sources | {"embed", "answer", "chat small-1"} <= set(found)
    answer = found["answer"]
    for name in stages | sources:
        assert found[name].trace == TRACE
        assert answer.began <= found[name].began <= found[name].ended <= answer.ended, name
    retrieve = found["retrieve"]
    for name in sources | {"fuse"}:
        assert retrieve.began <= found[name].began, name
        assert found[name].ended <= retrieve.ended + 1_000_000, name
    assert answer.events == ("first_token",)
    done = traced.streamed[-1]
    assert answer.attributes["gen_ai.agent.id"] == str(traced.agent)
    assert answer.attributes["gen_ai.conversation.id"] == done["conversation_id"]
    assert answer.attributes["citestream.run.id"] == done["run_id"]
    assert answer.attributes["citestream.cached"] is False
    assert answer.attributes["citestream.passages"] >= 1


async def test_a_models_call_is_told_as_the_conventions_have_it(traced: Traced) -> None:
    (request,) = traced.requests(STREAM)
    call = traced.below(request)["chat small-1"]
    assert call.kind == CLIENT
    assert call.attributes.pop("gen_ai.response.time_to_first_chunk") > 0
    assert call.attributes.pop("gen_ai.request.max_tokens") > 0
    assert call.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small-1",
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
    }


async def test_the_model_and_the_encoder_are_told_of_the_trace(traced: Traced) -> None:
    (request,) = traced.requests(STREAM)
    call = traced.below(request)["chat small-1"]
    assert traced.vendor.requests[0].headers["traceparent"] == f"00-{TRACE}-{call.id}-01"
    told = re.findall(rf"\r\ntraceparent: 00-{TRACE}-(\w+)-01\r\n", traced.encoder.decode())
    embeds = {span.id for span in traced.collector.named("embed") if span.trace == TRACE}
    assert len(told) == 1, "those who need the same vector ask for it once"
    assert set(told) <= embeds


async def test_a_cached_answer_has_no_model_in_its_trace(traced: Traced) -> None:
    cached, _, _ = traced.requests(WHOLE)
    assert cached.trace != TRACE
    found = traced.below(cached)
    assert found["answer"].attributes["citestream.cached"] is True
    assert {"load", "cache", "persist"} <= set(found)
    assert not any(name.startswith("chat ") for name in found)


async def test_what_fails_says_so_with_its_code(traced: Traced) -> None:
    _, failed, _ = traced.requests(WHOLE)
    found = traced.below(failed)
    for span in (failed, found["answer"], found["chat small-1"]):
        assert span.failed, span.name
    code = found["answer"].attributes["error.type"]
    assert code.startswith("provider_")
    assert found["chat small-1"].attributes["error.type"] == code


async def test_an_answer_without_a_model_and_a_retrieval(traced: Traced) -> None:
    _, _, extractive = traced.requests(WHOLE)
    (call,) = (s for n, s in traced.below(extractive).items() if n.startswith("chat "))
    assert call.kind == INTERNAL
    assert call.attributes["gen_ai.provider.name"] == "extractive"
    (retrieve,) = traced.requests("POST /api/retrieve")
    assert {"vector", "keyword"} <= set(traced.below(retrieve))


async def test_nothing_that_was_asked_found_or_answered_is_sent_and_no_key(traced: Traced) -> None:
    raw = b"".join(traced.collector.raw)
    for secret in (KEY, "quokkas", "xylographic", "ocelot", "Annabella", "Atlas"):
        assert secret.encode() not in raw, secret
    (listing,) = traced.requests("GET /api/agents")
    assert listing.attributes["url.query"] == "REDACTED"


async def test_probes_leave_no_trace(traced: Traced) -> None:
    paths = {span.attributes.get("url.path") for span in traced.collector.spans}
    assert not paths & {"/healthz", "/metrics"}


async def test_a_collector_that_is_away_costs_no_answer_and_holds_up_no_end(
    connections: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")  # for so long it would try
    with Collector() as gone:
        address = gone.url
    tracing = open_tracing(address)
    async with live_service(**connections, tracing=tracing) as live:
        agent = await live.agent(unique("agent"), None, provider="extractive")
        assert (await live.ask(agent, QUESTION))["finish_reason"] == "stop"
    async with asyncio.timeout(30):
        await tracing.aclose()
    assert {record.levelname for record in caplog.records} <= {"ERROR"}
    assert "quokkas" not in caplog.text


async def test_without_a_collector_nothing_of_it_is_imported() -> None:
    source = (
        "import sys; from app.telemetry.tracing import open_tracing;"
        "import app.asgi, app.commands.foreground, app.providers.openai, app.encoder.client;"
        "open_tracing(None); print([m for m in sys.modules if m.startswith(("
        "'opentelemetry.exporter', 'opentelemetry.sdk.trace', 'opentelemetry.proto', 'requests'))])"
    )
    run = [sys.executable, "-c", source]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = await asyncio.to_thread(subprocess.run, run, env=env, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


async def test_without_a_collector_no_call_says_anything_of_a_trace(
    connections: dict[str, Any],
) -> None:
    async with VendorServer(Script(tokens=ANSWER)) as vendor:
        models = {"openai_api_key": KEY, "openai_base_url": vendor.openai_url}
        async with live_service(**connections, **models, tracing=Tracing()) as live:
            live.http.headers["traceparent"] = f"00-{TRACE}-{CALLER}-01"
            agent = await live.agent(unique("agent"), None, provider="openai")
            await live.ask(agent, QUESTION)
        assert "traceparent" not in vendor.requests[0].headers
