"""Administration of agents."""

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from app.api.auth import Administrator, Reader
from app.api.body import json_body_of_administrator
from app.api.jsonbytes import Json
from app.api.params import DEFAULT_LIMIT, After, Id, Limit
from app.api.routes.retrieve import check_top_k
from app.api.schemas import AgentBody, AgentChange, request_body
from app.api.services import Services, services_of
from app.api.shapes import AgentJson, AgentsJson
from app.api.wire import agent_json, page_json
from app.chat.administration import AgentRecord, keeps_key
from app.chat.model import Agent

router = APIRouter(prefix="/api/agents", tags=["agents"])


@router.get("", responses={200: {"model": AgentsJson}})
async def list_agents(
    request: Request, caller: Reader, limit: Limit = DEFAULT_LIMIT, after: After = None
) -> Json:
    """The agents, a page at a time."""
    page = await services_of(request).agents.list(caller, limit, after)
    return Json(page_json(page, agent_json))


@router.post(
    "",
    status_code=201,
    openapi_extra=request_body(AgentBody),
    responses={201: {"model": AgentJson}},
)
async def create_agent(
    request: Request,
    caller: Administrator,
    body: Annotated[AgentBody, Depends(json_body_of_administrator(AgentBody))],
) -> Json:
    """Make an agent."""
    services = services_of(request)
    values = body.model_dump()
    if "top_k" not in body.model_fields_set:
        values["top_k"] = min(body.top_k, services.max_top_k)
    _check(services, values, own_key=body.api_key is not None)
    agent = await services.agents.create(caller, values)
    return Json(agent_json(agent), 201, {"Location": f"/api/agents/{agent.id}"})


@router.get("/{agent_id}", responses={200: {"model": AgentJson}})
async def show_agent(request: Request, agent_id: Id, caller: Reader) -> Json:
    """One agent."""
    return Json(agent_json(await services_of(request).agents.get(caller, agent_id)))


@router.patch(
    "/{agent_id}",
    openapi_extra=request_body(AgentChange, partial=True),
    responses={200: {"model": AgentJson}},
)
async def change_agent(
    request: Request,
    agent_id: Id,
    caller: Administrator,
    body: Annotated[AgentChange, Depends(json_body_of_administrator(AgentChange))],
) -> Json:
    """Set some of an agent's fields; its cached answers are no longer found. Another `base_url` or
    `provider` without a new `api_key` clears the one there was."""
    services = services_of(request)
    values = body.given()
    current = await services.agents.get(caller, agent_id)
    _check(services, agent_json(current) | values, own_key=_has_key(current, values))
    return Json(agent_json(await services.agents.update(caller, agent_id, values)))


@router.delete("/{agent_id}", status_code=204, response_class=Response)
async def delete_agent(request: Request, agent_id: Id, caller: Administrator) -> Response:
    """Remove an agent with its conversations."""
    services = services_of(request)
    removing = partial(services.agents.delete, caller, agent_id)
    await services.engine.remove(caller, removing, agent_id=agent_id)
    return Response(status_code=204)


def _has_key(current: AgentRecord, values: Mapping[str, Any]) -> bool:
    """Whether the agent has a key of its own once these are set."""
    if "api_key" in values:
        return values["api_key"] is not None
    kept = keeps_key(current.provider, current.base_url, values)
    return kept and current.api_key_state != "none"


def _check(services: Services, values: Mapping[str, Any], *, own_key: bool) -> None:
    """Raise InvalidInput for an agent that this server could not answer with."""
    check_top_k(values["top_k"], services.max_top_k)
    known = {field.name for field in fields(Agent)}
    settings = {name: value for name, value in values.items() if name in known}
    agent = Agent(**({"id": 0, "version": 0} | settings))
    services.providers.check(agent, own_key=own_key)
