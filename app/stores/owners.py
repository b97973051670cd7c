"""A tenant keeps somebody who may do everything in it."""

import asyncpg

from app.chat.model import Scope
from app.errors import Conflict

# Two owners who end each other at the same moment: the second one waits, and sees what is left.
LOCK = "SELECT FROM tenants WHERE id = $1 FOR NO KEY UPDATE"
# A user, or a key that is no user's.
LEFT = """
SELECT EXISTS (SELECT FROM users WHERE role = 'owner' AND disabled_at IS NULL)
    OR EXISTS (SELECT FROM api_keys
                WHERE role = 'owner' AND kind = 'key' AND user_id IS NULL AND revoked_at IS NULL
                  AND (expires_at IS NULL OR expires_at > now()))
"""
# Who runs the server, who can make another one at any time.
OPERATOR = "owner"


async def lock_owners(connection: asyncpg.Connection, scope: Scope) -> None:
    """Let nobody else end one of the tenant's owners before this transaction has ended."""
    await connection.execute(LOCK, scope.tenant_id)


async def check_owner_left(connection: asyncpg.Connection, scope: Scope) -> None:
    """Raise Conflict where this transaction has ended the last one; under `lock_owners`."""
    if scope.subject != OPERATOR and not await connection.fetchval(LEFT):
        raise Conflict("This is the tenant's last owner; make somebody else one first.")
