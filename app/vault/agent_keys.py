"""The provider keys of agents: sealed with where they may be sent.

A key is for one provider at one address. Both are sealed with it, so that a row whose `base_url`
was changed by anybody, in whatever way, has no key that opens.
"""

import orjson

from app.vault.sealing import Place, Undecryptable, Vault

TABLE, COLUMN = "agents", "api_key_sealed"


class AgentKeys:
    """Seals and opens them in a vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def seal(
        self, key: str, tenant_id: int, agent_id: int, provider: str, base_url: str | None
    ) -> bytes:
        """A key for this agent, to be sent nowhere but there; `base_url` None is wherever the
        operator sends this provider's. Conflict where there is nothing to encrypt it with."""
        content = orjson.dumps([key, provider, base_url])
        return self._vault.seal(content, Place(tenant_id, TABLE, agent_id, COLUMN))

    def open(
        self, sealed: bytes, tenant_id: int, agent_id: int, provider: str, base_url: str | None
    ) -> str:
        """The key. Raises Undecryptable, also for one that was entered for another address."""
        place = Place(tenant_id, TABLE, agent_id, COLUMN)
        key, *entered_for = orjson.loads(self._vault.open(sealed, place))
        if entered_for != [provider, base_url]:
            raise Undecryptable
        return str(key)

    def opens(
        self, sealed: bytes, tenant_id: int, agent_id: int, provider: str, base_url: str | None
    ) -> bool:
        """Whether it does."""
        try:
            self.open(sealed, tenant_id, agent_id, provider, base_url)
        except Undecryptable:
            return False
        return True
