"""What a tenant's callers have taken of models, for those who administer it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.api.auth import Administrator
from app.api.jsonbytes import Json
from app.api.services import services_of
from app.api.usage_shapes import DayOfUseJson, UsageByDayJson
from app.limits.ports import DayOfUse

MAX_DAYS = 366

router = APIRouter(prefix="/api/admin/usage", tags=["administration"])
Days = Annotated[int, Query(ge=1, le=MAX_DAYS, description="Today (UTC) and the days before it.")]


@router.get("", responses={200: {"model": UsageByDayJson}})
async def usage(request: Request, caller: Administrator, days: Days = 7) -> Json:
    """What was taken of each model and what it cost, by day and caller, latest first. What was
    found in a cache took nothing."""
    found = await services_of(request).usage.daily(caller, days)
    return Json({"items": [day_json(each) for each in found], "next": None})


def day_json(used: DayOfUse) -> DayOfUseJson:
    return {
        "day": used.day,
        "subject": used.subject,
        "model": used.model,
        "answers": used.answers,
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.prompt_tokens + used.completion_tokens,
        "cost": used.cost,
    }
