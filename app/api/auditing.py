"""From a response to the audit log: each goes by here as it begins, with its route and its caller.

There is one way into the log for all of HTTP, so no route can forget it. What is written down comes
from the route, the caller's scope and numbers: no title, no text, no credential, no name.
"""

from collections.abc import Awaitable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Annotated, cast
from uuid import UUID

from pydantic import Field, TypeAdapter, ValidationError
from starlette.datastructures import QueryParams
from starlette.types import Scope as Request

from app.api.audit_actions import ACTIONS, Action
from app.api.params import INT64
from app.api.services import Services
from app.chat.administration import AuditEntry, AuditResult
from app.chat.model import Claim, Scope
from app.errors import AppError

REFUSED = frozenset((401, 403, 429))
RESULTS: dict[int, AuditResult] = {
    401: "denied",
    403: "denied",
    404: "not_found",
    429: "limited",
    499: "failed",  # the client left; whether it was done is not known
}
# What may stand for an object, read as the routes read it (` 7`, `+7` and `7.0` are 7): who writes
# an id in an unusual way must not be left out. All else in a path is the sender's text.
OBJECT_IDS = TypeAdapter(Annotated[int, Field(gt=0, lt=INT64)]), TypeAdapter(UUID)
Headers = Iterable[tuple[bytes, bytes]]


def audit(request: Request, status: int, headers: Headers) -> Awaitable[None] | None:
    """What is to be awaited before the response begins; None for most requests."""
    action = ACTIONS.get((request["method"], getattr(request.get("route"), "path", "")))
    if action is None or not _is_recorded(action, status):
        return None
    return _record(request, action, status, headers)


def _is_recorded(action: Action, status: int) -> bool:
    if status in REFUSED or action.recorded == "change":
        return True
    return action.recorded == "always" and status < 400


async def _record(request: Request, action: Action, status: int, headers: Headers) -> None:
    services = cast(Services, request["app"].state.services)
    caller = await _caller(request, services)
    if caller is None:  # nobody's in particular: there is no tenant whose log it would be in
        return
    for entry in _entries(request, caller, action, status, headers):
        if status < 400:
            await services.journal.keep(entry)
        else:
            services.journal.note(entry)


async def _caller(request: Request, services: Services) -> Scope | None:
    """Who was let in, or else who was not: a revoked key is still somebody's."""
    state = request.get("state", {})
    caller = cast("Scope | None", state.get("caller"))
    claim = cast("Claim | None", state.get("claim"))
    if caller is None and claim is not None:
        with suppress(AppError):  # without the database nobody is known
            return await services.audit.holder_of(claim)
    return caller


def _entries(
    request: Request, caller: Scope, action: Action, status: int, headers: Headers
) -> Iterator[AuditEntry]:
    """One for each object."""
    for kind, object_id in _objects(request, action, status, headers):
        yield AuditEntry(
            tenant_id=caller.tenant_id,
            at=datetime.now(UTC),
            subject=caller.subject,
            role=caller.role,
            action=action.name,
            object_kind=kind,
            object_id=object_id,
            result=_result(status),
            status=status,
            request_id=request["state"]["request_id"],
            address=_address(request),
        )


def _objects(
    request: Request, action: Action, status: int, headers: Headers
) -> Iterator[tuple[str, str | None]]:
    if action.by_query:
        query = QueryParams(request["query_string"])  # of several the same, as the routes do
        given = [
            (kind, _id(query[f"{kind}_id"])) for kind in action.by_query if f"{kind}_id" in query
        ]
        yield from given or [(action.kind, None)]
        return
    made = [value for name, value in headers if name == b"location"] if status == 201 else []
    yield action.kind, _id(_last(made[0].decode("latin-1")) if made else _named(request))


def _named(request: Request) -> str:
    """The last id that the path names; empty where it names none."""
    template, path = request["route"].path.split("/"), request["path"].split("/")
    named = [text for part, text in zip(template, path, strict=False) if part.startswith("{")]
    return named[-1] if named else ""


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _id(text: str) -> str | None:
    for adapter in OBJECT_IDS:
        with suppress(ValidationError):
            return str(adapter.validate_python(text))
    return None


def _result(status: int) -> AuditResult:
    if status < 400:
        return "ok"
    return RESULTS.get(status, "refused" if status < 500 else "failed")


def _address(request: Request) -> str | None:
    """The caller's, as the server knows it: behind a proxy that it trusts, what that one says."""
    host = (request.get("client") or ("",))[0]
    with suppress(ValueError):
        return str(ip_address(host))
    return None
