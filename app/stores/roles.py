"""What a database role may do past row level security."""

from dataclasses import dataclass

import asyncpg

ROLE = """
SELECT rolname, rolsuper, rolbypassrls, EXISTS (
    SELECT FROM pg_class WHERE relowner = r.oid AND relkind IN ('r', 'p')) AS owns
FROM pg_roles r WHERE rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class RoleReport:
    """What the service's role could do past row level security; `safe` when nothing."""

    role: str
    superuser: bool
    bypasses_rls: bool
    owns_tables: bool

    @property
    def safe(self) -> bool:
        return not (self.superuser or self.bypasses_rls or self.owns_tables)


async def role_of(connection: asyncpg.Connection) -> RoleReport:
    """The role that this connection is of."""
    return RoleReport(*await connection.fetchrow(ROLE))
