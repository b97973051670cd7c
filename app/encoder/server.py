"""The encoder's process: bind, serve, load, and end without a word when asked to."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from functools import partial
from typing import NoReturn

import uvicorn

from app.encoder.api import create_encoder_app
from app.encoder.arrival import BoundedProtocol
from app.encoder.backend import DEFAULT_BACKEND, DEFAULT_MODEL, ModelUnusable
from app.encoder.batcher import Batcher
from app.encoder.batching import Limits
from app.encoder.listening import AddressUnusable, Listener, bind
from app.encoder.loading import DEFAULT_CACHE, BackendName, load_backend
from app.encoder.rerank_backend import find_reranker, load_reranker
from app.encoder.rerank_queue import RerankQueue

logger = logging.getLogger(__name__)

# Longer than clients keep an idle connection, so that it is they who close it.
KEEP_ALIVE_SECONDS = 75
# With uvicorn's own two ticks of 0.1 s the process is gone within a second.
GRACE_SECONDS = 0.6
# An orphan that does not end in an orderly way within this time ends anyhow.
ORPHAN_SECONDS = 2.0


def run_encoder(
    model: str = DEFAULT_MODEL,
    host: str = "127.0.0.1",
    port: int = 8765,
    uds: str | None = None,
    device: str = "auto",
    threads: int = 0,
    backend: BackendName = DEFAULT_BACKEND,
    cache: str = DEFAULT_CACHE,
    exit_with_parent: bool = False,
    reranker: str | None = None,
    batch_tokens: int = 0,
) -> NoReturn:
    """Host a model, and a reranker where one is named, until SIGINT or SIGTERM, then end the
    process with status 0.

    `batch_tokens` is the most of a batch, with padding; 0 is what suits the device.
    `uds` is the path of a unix socket to listen on instead of TCP; port 0 takes a free one.
    `/health` answers 503 while the model loads. With `exit_with_parent` the process also ends
    when its standard input does: the parent holds the other end of that pipe. An address in use
    or a model that cannot be loaded is one sentence on standard error and status 1.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    started = time.monotonic()
    try:
        listener = bind(host, port, uds)
    except AddressUnusable as error:
        _end(1, f"{error}\n")

    def end(status: int = 0, sentence: str = "") -> NoReturn:
        listener.close()
        _end(status, sentence)

    # Before uvicorn takes the signals over, and when it gives them back at the end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end())
    if exit_with_parent:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    batcher = Batcher(
        lambda: load_backend(model, device, threads, backend, cache),
        partial(Limits.of, batch_tokens),
    )
    server = _Server(batcher, _queue(reranker, device, threads, batcher) if reranker else None)
    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(_serve(server, listener, started))
    except ModelUnusable as error:
        end(1, f"{error}\n")
    except Exception:
        logger.exception("The encoder failed.")
        end(1)
    end()


def _queue(model: str, device: str, threads: int, batcher: Batcher) -> RerankQueue:
    return RerankQueue(
        lambda: find_reranker(model),
        lambda folder: load_reranker(model, folder, device, threads),
        batcher.metrics.registry,
    )


async def _serve(server: "_Server", listener: Listener, started: float) -> None:
    loading = asyncio.create_task(_load(server, listener.url, started))
    await server.serve(sockets=[listener.socket])
    if loading.done():
        loading.result()


async def _load(server: "_Server", url: str, started: float) -> None:
    try:
        if server.reranker:
            await server.reranker.find()
        info = await server.batcher.start()
        if server.reranker:
            await server.reranker.start()
    except BaseException:
        server.should_exit = True
        raise
    seconds = time.monotonic() - started
    sys.stdout.write(f"{info.model} is ready on {url} after {seconds:.1f} s\n")
    sys.stdout.flush()


class _Server(uvicorn.Server):
    """uvicorn, telling the models' queues before it waits for open requests to end."""

    def __init__(self, batcher: Batcher, reranker: RerankQueue | None) -> None:
        super().__init__(
            uvicorn.Config(
                create_encoder_app(batcher, reranker),
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=1,
            )
        )
        self.batcher = batcher
        self.reranker = reranker

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.reranker:
            self.reranker.stop()
        await self.batcher.stop(GRACE_SECONDS)
        await super().shutdown(sockets)


def _end_with_stdin() -> None:
    while _read_stdin():
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)


def _read_stdin() -> bytes:
    try:
        return os.read(0, 4096)
    except OSError:  # no standard input at all
        return b""


def _end(status: int, sentence: str) -> NoReturn:
    # Not `sys.exit`: that would wait for the model's thread, which cannot be interrupted in the
    # middle of an import or a batch, and there is nothing here that needs an orderly end.
    sys.stderr.write(sentence)
    sys.stderr.flush()
    os._exit(status)
