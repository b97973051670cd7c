"""Sessions of the page: rows beside the API keys, with the rights of what they were opened with."""

import secrets

from app.chat.keys import SESSION_PREFIX, Holder, Opened
from app.chat.model import Claim, Scope
from app.errors import NotFound
from app.stores.database import Database, who
from app.stores.tenants import KEY_BYTES, RESOLVE, digest_of, resolved

# A user who is signed out everywhere at this moment is waited for: what follows sees it done.
USER = "SELECT FROM users WHERE id = $1 FOR SHARE"
# Whose a session was is told of one that is over (the audit log asks), but not for ever.
FORGET = """
DELETE FROM api_keys
 WHERE kind = 'session' AND greatest(expires_at, revoked_at) < now() - interval '30 days'
"""
OPEN = """
INSERT INTO api_keys (tenant_id, user_id, name, role, key_hash, last4, expires_at, kind, parent_id,
                      portfolio_ids)
SELECT r.tenant_id, r.user_id, 'page', r.role, $5, $6,
       least(now() + $7 * interval '1 hour', k.expires_at), 'session', r.key_id, r.portfolios
  FROM resolve_credential($1, $2, $3, $4) r LEFT JOIN api_keys k ON k.id = r.key_id
 WHERE r.subject IS NOT NULL AND k.kind IS DISTINCT FROM 'session'
RETURNING expires_at
"""
CLOSE = """
UPDATE api_keys SET revoked_at = now()
 WHERE key_hash = $1 AND kind = 'session' AND revoked_at IS NULL
"""
HOLDER = """
SELECT t.name AS tenant,
       coalesce(NULLIF(u.name, ''), u.email, NULLIF(p.name, ''), k.name) AS name, k.expires_at
  FROM tenants t
  LEFT JOIN api_keys k ON k.key_hash = $2
  LEFT JOIN api_keys p ON p.id = k.parent_id
  LEFT JOIN users u ON u.id = $3
 WHERE t.id = $1
"""


class PgSessions:
    """The port `Sessions` on Postgres; each is good for `hours`, its key's own end permitting."""

    def __init__(self, database: Database, hours: float) -> None:
        self._database = database
        self._hours = hours

    async def open(self, claim: Claim) -> Opened | None:
        """A session of the credential's holder; None where it is not good."""
        [row] = await self._database.fetch(RESOLVE, *who(claim))
        if row["subject"] is None:
            return None
        scope, secret = resolved(row), SESSION_PREFIX + secrets.token_urlsafe(KEY_BYTES)
        async with self._database.transaction(scope) as connection:
            await connection.execute(USER, row["user_id"])
            await connection.execute(FORGET)
            expires_at = await connection.fetchval(
                OPEN, *who(claim), digest_of(secret), secret[-4:], self._hours
            )
        return None if expires_at is None else Opened(secret, scope, expires_at)

    async def close(self, scope: Scope, claim: Claim) -> None:
        """End it; what is no session, or none any more, is left alone."""
        async with self._database.transaction(scope) as connection:
            await connection.execute(CLOSE, claim.key_digest)

    async def holder(self, scope: Scope, claim: Claim | None) -> Holder:
        """Whose the credential of this scope is, in words."""
        kind, _, number = scope.subject.partition(":")
        user_id = int(number) if kind == "user" else None
        digest = None if claim is None else claim.key_digest
        async with self._database.transaction(scope) as connection:
            row = await connection.fetchrow(HOLDER, scope.tenant_id, digest, user_id)
        if row is None:
            raise NotFound
        return Holder(**row)
