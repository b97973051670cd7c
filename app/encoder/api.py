"""The encoder's HTTP surface: OpenAI's embeddings, reranking, health, metrics, what is loaded.

Starlette without FastAPI: there is one route of weight, and half a second of start to save.
"""

import asyncio
from dataclasses import asdict
from typing import TypeVar

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.encoder import rerank_wire, wire
from app.encoder.backend import EncodingFailed, ModelFailed, ModelInfo
from app.encoder.batcher import Batcher, NotReady, Overloaded, Result
from app.encoder.metrics import CONTENT_TYPE, EncoderMetrics
from app.encoder.rerank import PairTooLong, RerankerInfo, RerankFailed
from app.encoder.rerank_queue import RerankQueue

MAX_BODY_BYTES = 16 * 1024 * 1024  # 2,048 texts of 8,000 characters
LOADING_SECONDS = 1  # a start takes four, and asking costs nothing
CLIENT_GONE = 499  # nginx's number; nobody reads it
# The largest body in this time is 300 kB/s; who sends more slowly than that sends nothing.
BODY_SECONDS = 60.0
# Vectors that are written without a pause: as numbers, 2,048 of them would hold the event loop,
# and with it all others, for 50 ms of the processor's time. In parts it is 12 ms, to join them.
PART = 32

T = TypeVar("T")


def create_encoder_app(batcher: Batcher, reranker: RerankQueue | None = None) -> Starlette:
    """The ASGI application around a batcher and, where there is one, a reranker; both may still be
    loading."""

    async def embeddings(request: Request) -> Response:
        info = _loaded(batcher)
        parsed = wire.parse(await _body(request), info)
        if parsed.model not in (None, info.model, info.id):
            return _error(
                404, f"This server hosts {info.model}, no other model.", "model_not_found", "model"
            )
        result = await _unless_gone(request, batcher.submit(parsed.texts, parsed.input_type))
        return _json(await _render(parsed, result, info.model))

    async def rerank(request: Request) -> Response:
        queue = _started(reranker)
        parsed = rerank_wire.parse(await _body(request))
        scores = queue.submit(parsed.query, parsed.texts, parsed.truncate)
        return _json(rerank_wire.render(parsed, await _unless_gone(request, scores)))

    async def models(request: Request) -> Response:
        info = _loaded(batcher)
        model = {"id": info.model, "object": "model", "created": 0, "owned_by": "citestream"}
        return _json(orjson.dumps({"object": "list", "data": [model]}))

    async def metrics(request: Request) -> Response:
        return Response(batcher.metrics.render(), media_type=CONTENT_TYPE)

    async def health(request: Request) -> Response:
        _loaded(batcher)
        if reranker:
            _started(reranker)
        return _json(b'{"status":"ok"}')

    async def info(request: Request) -> Response:
        loaded = _loaded(batcher)
        ranks = _described(reranker.info) if reranker and reranker.info else None
        return _json(orjson.dumps(_described(loaded) | {"reranker": ranks}))

    routes = [
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/models", models),
        Route("/health", health),
        Route("/info", info),
        Route("/metrics", metrics),
    ]
    if reranker:
        routes.append(Route("/rerank", rerank, methods=["POST"]))
    paths = frozenset(route.path for route in routes)
    return Starlette(
        routes=routes,
        middleware=[Middleware(_Counted, paths=paths, metrics=batcher.metrics)],
        exception_handlers={
            wire.BadRequest: _bad_request,
            NotReady: _not_ready,
            Overloaded: _overloaded,
            EncodingFailed: _encoding_failed,
            RerankFailed: _rerank_failed,
            PairTooLong: _pair_too_long,
            ClientDisconnect: _client_gone,
            HTTPException: _http_error,
        },
    )


class _Counted:
    """Counts answers by path and status."""

    def __init__(self, app: ASGIApp, paths: frozenset[str], metrics: EncoderMetrics) -> None:
        self._app = app
        self._paths = paths
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Any other path is one label: whoever scans for pages must not fill the memory.
        path = scope["path"] if scope["path"] in self._paths else "other"

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.request(path, message["status"])
            await send(message)

        await self._app(scope, receive, counting)


def _loaded(batcher: Batcher) -> ModelInfo:
    if batcher.info is None:
        raise NotReady
    return batcher.info


def _started(reranker: RerankQueue | None) -> RerankQueue:
    if reranker is None or reranker.info is None:
        raise NotReady
    return reranker


def _described(info: ModelInfo | RerankerInfo) -> dict[str, object]:
    return asdict(info) | {"id": info.id}


async def _unless_gone(request: Request, future: "asyncio.Future[T]") -> T:
    """The result; ClientDisconnect, and the future cancelled, when nobody waits for it any more."""
    gone = asyncio.create_task(_disconnected(request))
    gone.add_done_callback(lambda _: future.cancel())
    try:
        return await future
    except asyncio.CancelledError:
        if not gone.done():  # this task itself was cancelled: the server stops
            future.cancel()
            raise
        raise ClientDisconnect from None
    finally:
        gone.cancel()


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise wire.BadRequest(
                        f"The body is larger than {MAX_BODY_BYTES} bytes; send fewer texts.",
                        status=413,
                    )
    except TimeoutError:
        raise wire.BadRequest(
            f"The body did not arrive within {BODY_SECONDS:g} s.", status=408, close=True
        ) from None
    if not body and "upgrade" in request.headers:
        # The parser takes what follows for the other protocol.
        raise wire.BadRequest(
            "This is HTTP/1.1 only; send the request without an Upgrade header.", close=True
        )
    return bytes(body)


async def _render(parsed: wire.EmbeddingRequest, result: Result, model: str) -> bytes:
    items: list[orjson.Fragment] = []
    for start in range(0, len(result.vectors), PART):
        if start:
            await asyncio.sleep(0)
        items += wire.render_items(parsed, result.vectors[start : start + PART], start)
    return wire.render(items, result.tokens, result.truncated, model)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _retry_after(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}


def _json(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, media_type="application/json")


def _error(
    status: int,
    message: str,
    code: str | None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
    return _json(wire.render_error(message, kind, code, param), status, headers)


async def _bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, wire.BadRequest)  # noqa: S101 — registered for this class
    headers = {"Connection": "close"} if error.close else None
    return _error(error.status, error.message, "invalid_input", error.param, headers)


async def _not_ready(request: Request, error: Exception) -> Response:
    message = "The model is not ready; try again shortly."
    return _error(503, message, "not_ready", headers=_retry_after(LOADING_SECONDS))


async def _overloaded(request: Request, error: Exception) -> Response:
    assert isinstance(error, Overloaded)  # noqa: S101 — registered for this class
    message = f"Too many texts wait; try again in {error.retry_after} s."
    return _error(429, message, "overloaded", headers=_retry_after(error.retry_after))


async def _encoding_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, EncodingFailed)  # noqa: S101 — registered for this class
    message = f"The model gave no usable vector for input {error.index}; see its log."
    code = "model_failed" if isinstance(error, ModelFailed) else "encoding_failed"
    return _error(500, message, code, f"input[{error.index}]")


async def _rerank_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RerankFailed)  # noqa: S101 — registered for this class
    message = "The reranker gave no usable scores; see its log."
    param = None if error.index is None else f"texts[{error.index}]"
    return _error(500, message, "reranking_failed", param)


async def _pair_too_long(request: Request, error: Exception) -> Response:
    assert isinstance(error, PairTooLong)  # noqa: S101 — registered for this class
    message = (
        f"The query and this text have more than the {error.max_tokens} tokens that the reranker "
        "reads; send truncate: true to have the text cut."
    )
    return _error(413, message, "too_long", f"texts[{error.index}]")


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 — registered for this class
    return _error(error.status_code, f"{error.detail}.", None)
