"""Encoders for a deployment that cost next to nothing."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx2

from tests.soak.encoder_change import bag_model
from tests.soak.processes import service
from tests.soak.row import Stage
from tests.support.encoder import HashEncoder, Reply, scripted_server

BAG_DIMENSION = 64


async def hash_encoder(stage: Stage, stack: AsyncExitStack) -> dict[str, str]:
    """One that knows no meaning, in this process, for documents only: questions are searched by
    words. Its name and dimension, and how replicas find it and do without it for questions."""
    encoder = HashEncoder()

    async def answer(path: str, body: dict[str, Any]) -> Reply | None:
        if path != "/v1/embeddings":
            return 404, {}, {}
        vectors = await encoder.embed_documents(body["input"])
        data = [{"index": number, "embedding": each} for number, each in enumerate(vectors)]
        return 200, {"data": data}, {}

    return {
        "name": encoder.name,
        "dimension": str(encoder.dimension),
        "CITESTREAM_ENCODER__URL": await stack.enter_async_context(scripted_server(answer)),
        "CITESTREAM_ENCODER__MODEL": encoder.name,
        "CITESTREAM_FEATURES__VECTOR": "false",
        "CITESTREAM_FEATURES__SEMANTIC_CACHE": "false",
    }


async def bag_encoder(stage: Stage, stack: AsyncExitStack) -> dict[str, str]:
    """The service with a small model, a process of its own: the same."""
    model = stage.folder / f"bag-{BAG_DIMENSION}"
    await asyncio.to_thread(bag_model.make, model, BAG_DIMENSION)
    options = ["--model", str(model), "--port", "0", "--backend", "torch", "--threads", "1"]
    started = await stack.enter_async_context(service(stage, "encoder", "encoder", *options))
    async with httpx2.AsyncClient(trust_env=False) as http:
        info = (await http.get(f"{started.url}/info")).raise_for_status().json()
    return {
        "name": info["id"],
        "dimension": str(info["dimension"]),
        "CITESTREAM_ENCODER__URL": started.url,
        "CITESTREAM_ENCODER__MODEL": model.name,
    }
