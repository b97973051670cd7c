"""What whoever runs the server does from the command line, in the tenant's audit log."""

from datetime import UTC, datetime

from app.api.services import Services
from app.chat.administration import AuditEntry
from app.chat.model import Scope


async def record(
    services: Services, scope: Scope, action: str, object_kind: str, object_id: str
) -> None:
    """Note something that was done; who did it is known to the machine, not to the service."""
    entry = AuditEntry(
        tenant_id=scope.tenant_id,
        at=datetime.now(UTC),
        subject="command",
        role="owner",
        action=action,
        object_kind=object_kind,
        object_id=object_id,
        result="ok",
        status=0,
    )
    await services.journal.keep(entry)
