"""What every call of the API is in the audit log: a noun and a verb, and which object it is about.

A call that is not named here fails a test, so that none can change anything unrecorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# What of a call is recorded: "change": whatever becomes of it; "read": that it was refused for want
# of rights, or by a limit; "always": that, and each success.
Recorded = Literal["change", "read", "always"]


@dataclass(frozen=True, slots=True)
class Action:
    """`kind` is of the object: the one that the path's last id names, that the response's
    `Location` names, or those of the query's parameters in `by_query` (by kind)."""

    name: str
    kind: str
    recorded: Recorded = "read"
    by_query: tuple[str, ...] = ()


def _of(noun: str, verb: str, kind: str = "") -> Action:
    recorded: Recorded = "change" if verb in CHANGES else "read"
    return Action(f"{noun}.{verb}", kind or noun, recorded)


CHANGES = frozenset(("create", "change", "delete", "revoke", "add", "begin", "end", "stop"))

ACTIONS: Mapping[tuple[str, str], Action] = {
    ("POST", "/api/agents/{agent_id}/chat"): _of("chat", "ask", "agent"),
    ("POST", "/api/agents/{agent_id}/chat/stream"): _of("chat", "ask", "agent"),
    ("GET", "/api/runs/{run_id}/events"): _of("run", "read"),
    ("POST", "/api/runs/{run_id}/cancel"): _of("run", "stop"),
    ("POST", "/api/retrieve"): _of("portfolio", "search"),
    ("GET", "/api/agents"): _of("agent", "list"),
    ("POST", "/api/agents"): _of("agent", "create"),
    ("GET", "/api/agents/{agent_id}"): _of("agent", "read"),
    ("PATCH", "/api/agents/{agent_id}"): _of("agent", "change"),
    ("DELETE", "/api/agents/{agent_id}"): _of("agent", "delete"),
    ("GET", "/api/portfolios"): _of("portfolio", "list"),
    ("POST", "/api/portfolios"): _of("portfolio", "create"),
    ("GET", "/api/portfolios/{portfolio_id}"): _of("portfolio", "read"),
    ("PATCH", "/api/portfolios/{portfolio_id}"): _of("portfolio", "change"),
    ("DELETE", "/api/portfolios/{portfolio_id}"): _of("portfolio", "delete"),
    ("GET", "/api/portfolios/{portfolio_id}/documents"): _of("document", "list", "portfolio"),
    ("POST", "/api/portfolios/{portfolio_id}/documents"): _of("document", "add", "portfolio"),
    ("GET", "/api/documents/{document_id}"): _of("document", "read"),
    ("DELETE", "/api/documents/{document_id}"): _of("document", "delete"),
    ("GET", "/api/conversations"): _of("conversation", "list"),
    ("GET", "/api/conversations/{conversation_id}"): _of("conversation", "read"),
    ("DELETE", "/api/conversations/{conversation_id}"): _of("conversation", "delete"),
    ("POST", "/api/session"): _of("session", "begin"),
    ("GET", "/api/session"): _of("session", "read"),
    ("DELETE", "/api/session"): _of("session", "end"),
    ("GET", "/api/users"): _of("user", "list"),
    ("POST", "/api/users"): _of("user", "create"),
    ("GET", "/api/users/{user_id}"): _of("user", "read"),
    ("PATCH", "/api/users/{user_id}"): _of("user", "change"),
    ("DELETE", "/api/users/{user_id}"): _of("user", "delete"),
    ("GET", "/api/keys"): _of("key", "list"),
    ("POST", "/api/keys"): _of("key", "create"),
    ("GET", "/api/keys/{key_id}"): _of("key", "read"),
    ("DELETE", "/api/keys/{key_id}"): _of("key", "revoke"),
    ("DELETE", "/api/admin/cache"): Action(
        "cache.invalidate", "tenant", "change", ("agent", "portfolio")
    ),
    ("GET", "/api/admin/stats"): _of("stats", "read"),
    ("GET", "/api/admin/usage"): _of("usage", "read"),
    ("GET", "/api/admin/audit"): Action("audit.read", "audit", "always"),
}
# Nobody in particular asks these: they tell nothing of a tenant.
PUBLIC = frozenset(("/healthz", "/readyz", "/metrics"))
