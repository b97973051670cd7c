"""The encoder's HTTP surface: OpenAI's embeddings, health, metrics and what is loaded.

Starlette without FastAPI: there is one route of weight, and half a second of start to save.
"""

import asyncio
from dataclasses import asdict

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.encoder import wire
from app.encoder.backend import EncodingFailed, ModelInfo
from app.encoder.batcher import Batcher, NotReady, Overloaded
from app.encoder.metrics import CONTENT_TYPE, EncoderMetrics

MAX_BODY_BYTES = 16 * 1024 * 1024  # 2,048 texts of 8,000 characters
LOADING_SECONDS = 1  # a start takes four, and asking costs nothing
CLIENT_GONE = 499  # nginx's number; nobody reads it


def create_encoder_app(batcher: Batcher) -> Starlette:
    """The ASGI application around a batcher, which may still be loading."""

    async def embeddings(request: Request) -> Response:
        info = _loaded(batcher)
        parsed = wire.parse(await _body(request), info)
        if parsed.model not in (None, info.model, info.id):
            return _error(
                404, f"This server hosts {info.model}, no other model.", "model_not_found", "model"
            )
        future = batcher.submit(parsed.texts, parsed.input_type)
        gone = asyncio.create_task(_disconnected(request))
        gone.add_done_callback(lambda _: future.cancel())
        try:
            result = await future
        except asyncio.CancelledError:
            if not gone.done():  # this task itself was cancelled: the server stops
                future.cancel()
                raise
            return Response(status_code=CLIENT_GONE)
        finally:
            gone.cancel()
        return _json(
            wire.render(parsed, result.vectors, result.tokens, result.truncated, info.model)
        )

    async def models(request: Request) -> Response:
        info = _loaded(batcher)
        model = {"id": info.model, "object": "model", "created": 0, "owned_by": "citestream"}
        return _json(orjson.dumps({"object": "list", "data": [model]}))

    async def metrics(request: Request) -> Response:
        return Response(batcher.metrics.render(), media_type=CONTENT_TYPE)

    async def health(request: Request) -> Response:
        _loaded(batcher)
        return _json(b'{"status":"ok"}')

    async def info(request: Request) -> Response:
        loaded = _loaded(batcher)
        return _json(orjson.dumps(asdict(loaded) | {"id": loaded.id}))

    routes = [
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/models", models),
        Route("/health", health),
        Route("/info", info),
        Route("/metrics", metrics),
    ]
    paths = frozenset(route.path for route in routes)
    return Starlette(
        routes=routes,
        middleware=[Middleware(_Counted, paths=paths, metrics=batcher.metrics)],
        exception_handlers={
            wire.BadRequest: _bad_request,
            NotReady: _not_ready,
            Overloaded: _overloaded,
            EncodingFailed: _encoding_failed,
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


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise wire.BadRequest(
                f"The body is larger than {MAX_BODY_BYTES} bytes; send fewer texts.", status=413
            )
    return bytes(body)


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
    return _error(error.status, error.message, "invalid_input", error.param)


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
    return _error(500, message, "encoding_failed", f"input[{error.index}]")


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 — registered for this class
    return _error(error.status_code, f"{error.detail}.", None)
