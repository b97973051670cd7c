"""The JSON objects of the audit log, as `shapes` has the others'."""

from datetime import datetime

from typing_extensions import TypedDict


class AuditJson(TypedDict):
    id: int
    at: datetime
    subject: str
    role: str
    action: str
    object_kind: str
    object_id: str | None
    result: str
    status: int
    count: int
    request_id: str
    address: str | None


class AuditsJson(TypedDict):
    items: list[AuditJson]
    next: str | None
