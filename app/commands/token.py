"""`citestream token`: a token (JWT) of a user, by the issuer of one's own."""

import time
from datetime import UTC, datetime

from app.bootstrap import build_services, connected
from app.bootstrap.identity import issue_token
from app.chat.model import Claim
from app.commands.auditing import record
from app.commands.installation import settings_here
from app.errors import NotFound


async def make_token(email: str, tenant: str | None, hours: float) -> str:
    """A token that is good for so many hours. Raises ConfigurationError without the secret that
    signs it, and NotFound where it would be nobody's."""
    async with connected(settings_here()) as live:
        now = int(time.time())
        token = issue_token(live, email, tenant, now, round(hours * 3600))
        async with build_services(live) as services:
            claim = Claim(None, email, tenant, datetime.fromtimestamp(now, UTC))
            scope = await services.credentials.resolve(claim)
            if scope is None:
                raise NotFound(_nobody(email, tenant))
            await record(services, scope, "token.create", "user", scope.subject.partition(":")[2])
        return token


def _nobody(email: str, tenant: str | None) -> str:
    if tenant is not None:
        return (
            f"There is no user {email} in the tenant {tenant} who may sign in; "
            f"`citestream user list --tenant {tenant}` shows who there is."
        )
    return (
        f"There is no user {email} who may sign in, or there is one in several tenants; add one "
        "with `citestream user add`, or name one with --tenant."
    )
