"""What this process does and has, for those who run it."""

from collections.abc import Mapping
from typing import Any, cast

from fastapi import APIRouter, Request

from app.api.auth import Administrator
from app.api.jsonbytes import Json
from app.api.metrics import ApiMetrics
from app.api.services import Services, services_of
from app.api.shapes import CachesJson, StatsJson
from app.chat.model import Scope
from app.errors import Unavailable
from app.ingest.ports import Documents

router = APIRouter(prefix="/api/admin/stats", tags=["administration"])


@router.get("", responses={200: {"model": StatsJson}})
async def stats(request: Request, caller: Administrator) -> Json:
    """What this process has done since it started, and how it is. Each process has its own numbers;
    the queue is the tenant's, and `performance` that of all processes."""
    services = services_of(request)
    metrics = cast(ApiMetrics, request.app.state.metrics)
    return Json(
        {
            "caches": caches(services),
            "runs": {"active": len(services.engine.runs.active)},
            "queue": {"documents": await _waiting(services.documents, caller)},
            "pools": services.database.statistics(),
            "encoders": services.encoders.availability(),
            "memory": {"resident_bytes": metrics.resident_bytes()},
            "performance": await services.performance.report(),
        }
    )


def caches(services: Services) -> CachesJson:
    """Every layer's numbers, with what follows from them."""
    layers = services.cache.statistics()
    vectors = services.encoders.statistics()
    found = {name: _with_rate(layers[name]) for name in ("answers", "passages", "semantic")}
    asked = sum(vectors.values())
    rate = _rate(asked - vectors["encoded"], asked)
    return cast(
        CachesJson,
        {
            **found,
            "vectors": {**vectors, "hit_rate": rate},
            "local": layers["local"],
            "redis": layers["redis"],
        },
    )


def _with_rate(layer: Mapping[str, int]) -> Mapping[str, Any]:
    hits = layer["local_hits"] + layer["shared_hits"]
    rate = _rate(hits, layer["lookups"])
    return {**layer, "misses": layer["lookups"] - hits, "hit_rate": rate}


def _rate(hits: int, lookups: int) -> float | None:
    """Of all look-ups, as far as there were any."""
    return round(hits / lookups, 4) if lookups else None


async def _waiting(documents: Documents, scope: Scope) -> int | None:
    """None while the database cannot be asked: the rest is worth knowing just then."""
    try:
        return await documents.count_waiting(scope)
    except Unavailable:
        return None
