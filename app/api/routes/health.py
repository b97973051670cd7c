"""Liveness, readiness and metrics, without a credential: they tell nothing of a tenant."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.api.jsonbytes import Json
from app.api.metrics import CONTENT_TYPE, ApiMetrics
from app.api.problems import CONTENT as PROBLEM
from app.api.problems import problem
from app.api.services import services_of
from app.api.shapes import ReadinessJson, StatusJson
from app.errors import Unavailable
from app.ingest.ports import Backlog, Documents

# Of a scrape's ten seconds, for a database that hangs.
BACKLOG_SECONDS = 1.0

router = APIRouter(tags=["health"])
READINESS: dict[int | str, dict[str, Any]] = {
    200: {"model": ReadinessJson},
    503: {"description": "Down; a problem with `dependencies`", "content": PROBLEM},
}


@router.get("/healthz", responses={200: {"model": StatusJson}})
async def healthz() -> Json:
    """The process is alive."""
    return Json({"status": "ok"})


@router.get("/readyz", responses=READINESS)
async def readyz(request: Request) -> Response:
    """The service can answer, each dependency's state; 503 where a required one is down."""
    dependencies = await services_of(request).readiness()
    status = worst(dependencies)
    if status != "down":
        return Json({"status": status, "dependencies": dict(dependencies)})
    return problem(
        request.state.request_id,
        Unavailable.status,
        Unavailable.code,
        "A dependency that answers need is down; see `dependencies`.",
        retryable=True,
        dependencies=dict(dependencies),
    )


@router.get("/metrics", include_in_schema=False)  # for Prometheus; every other call speaks JSON
async def metrics(request: Request) -> Response:
    """What the processes at this address have done, in Prometheus' text format."""
    metrics = cast(ApiMetrics, request.app.state.metrics)
    services = services_of(request)
    rendered = metrics.render(services, await _backlog(services.documents))
    return Response(rendered, media_type=CONTENT_TYPE)


async def _backlog(documents: Documents) -> Backlog | None:
    """None while the database cannot be asked: the rest is worth knowing just then."""
    try:
        async with asyncio.timeout(BACKLOG_SECONDS):
            return await documents.backlog()
    except (Unavailable, TimeoutError):
        return None


def worst(dependencies: Mapping[str, str]) -> str:
    """Of "ok", "degraded" and "down", the worst state there is."""
    states = {state.partition(":")[0] for state in dependencies.values()}
    return next((state for state in ("down", "degraded") if state in states), "ok")
