"""Redis as the stores see it: one server, or a cluster of several, by the same few words.

A key is at a place, which is one server's name; what fails, fails there, and leaves the other
places alone. All keys of a tenant are at one place, because they carry `{its id}`, the only part of
a key that a cluster looks at.
"""

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from redis.asyncio import Redis

from app.stores.redis_line import Command, RedisLine

# The place of everything where there is one server, and while a cluster's are not known.
SOMEWHERE = ""


class Servers(Protocol):
    """All of them, behind a line to each. Close with `aclose()`."""

    def ask(self, *commands: Command) -> Coroutine[Any, Any, list[Any]]:
        """The replies. Raises the first error among them (a ResponseError), RedisConnectionError,
        OSError, or TimeoutError where a server does not answer."""
        ...

    async def wait_for(self, *command: str | bytes | int | float) -> Any:
        """The reply to a command that may take its time, on a connection of its own. The deadline
        is the caller's; raises what `ask` does."""
        ...

    def place(self, key: str) -> str:
        """Where the key is, as far as that is known."""
        ...

    def places(self) -> Mapping[str, Redis]:
        """A client of each server that has keys, by its place, as far as they are known."""
        ...

    async def find(self) -> Mapping[str, Redis]:
        """The same, asked for where nothing is known. Raises what `ask` does."""
        ...

    async def look(self, place: str) -> None:
        """Return where the server of this place serves, or is none any more, so that others have
        its keys. Raises what `ask` does."""
        ...

    def statistics(self) -> Mapping[str, int]:
        """Of the lines: size, open, in_use; since the start acquired, opened."""
        ...

    async def aclose(self) -> None: ...


class OneServer:
    """`Servers` that are a single one, or the master that the sentinels name."""

    def __init__(self, redis: Redis, timeout_seconds: float) -> None:
        self._redis = redis
        self._line = RedisLine(redis, timeout_seconds)

    def ask(self, *commands: Command) -> Coroutine[Any, Any, list[Any]]:
        return self._line.ask(*commands)

    async def wait_for(self, *command: str | bytes | int | float) -> Any:
        return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]

    def place(self, key: str) -> str:
        return SOMEWHERE

    def places(self) -> Mapping[str, Redis]:
        return {SOMEWHERE: self._redis}

    async def find(self) -> Mapping[str, Redis]:
        return self.places()

    async def look(self, place: str) -> None:
        await self._line.ask(("PING",))

    def statistics(self) -> Mapping[str, int]:
        return self._line.statistics()

    async def aclose(self) -> None:
        await self._line.aclose()
        await self._redis.aclose()
