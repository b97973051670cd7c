"""`@cached(ttl=…)`: what a Python program's own coroutine functions return, kept for a while.

It is kept where the answers are, in this process's memory and in Redis:

    async with open_engine() as engine:
        cached = engine.cached

        @cached(ttl=60)
        async def price(item: str) -> dict:
            ...

        await price("tea")             # calls it
        await price(item="tea")        # finds what that returned
        await price.invalidate("tea")  # the next one calls it
"""

import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, cast

import orjson

from app.chat.cache import call_key, tenant_tag
from app.chat.canonical import canonical
from app.chat.model import Scope
from app.chat.ports import Cache
from app.chat.single_flight import SingleFlight

P = ParamSpec("P")
R = TypeVar("R")


class Cached:
    """`engine.cached`, which makes the decorator. `CachedFunction` has what it promises."""

    def __init__(
        self,
        cache: Cache,
        default_scope: Callable[[], Awaitable[Scope]],
        installation: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`installation` tells this database from others on the same Redis; `clock` is the one
        that all processes have, in seconds."""
        self.cache = cache
        self.clock = clock
        self.flights: SingleFlight[bytes] = SingleFlight()
        self._default_scope = default_scope
        self._installation = installation

    def __call__(
        self, *, ttl: int, scope: Scope | None = None
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], "CachedFunction[P, R]"]:
        """Keep results for `ttl` seconds, of the `default` tenant without a `scope`.

        Raises ValueError for a `ttl` that is no whole number above 0.
        """
        if not isinstance(ttl, int) or ttl < 1:
            raise ValueError(f"`ttl` is a whole number of seconds above 0, not {ttl!r}.")
        return lambda function: CachedFunction(self, function, ttl, scope)

    async def place(
        self, scope: Scope | None, function: str, arguments: str
    ) -> tuple[str, Sequence[str]]:
        """The key of a call's entry, and the tags of what it belongs to."""
        tenant_id = (scope or await self._default_scope()).tenant_id
        tenant = (self._installation, tenant_id)
        parts = {"tenant": tenant, "function": function, "arguments": arguments}
        return call_key(tenant_id, parts), [tenant_tag(tenant_id)]

    async def close(self) -> None:
        """Stop the calls that are on their way; who waits for one gets Unavailable."""
        await self.flights.close()


class CachedFunction(Generic[P, R]):
    """A coroutine function whose results are kept for a while, by tenant, name and arguments.

    Calls with the same arguments at the same time are one call: whoever is cancelled hurts nobody
    else, and what it raises reaches all of them and is not kept. Without Redis that is all.

    Arguments and result must be JSON, else TypeError. Every caller gets a copy, the first one too,
    in which tuples have become lists. The name is the function's module and qualified name, so
    functions of the same name in two programs' `__main__` share their results.
    """

    def __init__(
        self,
        cached: Cached,
        function: Callable[P, Coroutine[Any, Any, R]],
        ttl: int,
        scope: Scope | None,
    ) -> None:
        """TypeError for what is no `async def` function."""
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"`cached` takes an `async def` function, not {function!r}.")
        functools.update_wrapper(self, function)
        self._cached = cached
        self._function = function
        self._ttl = ttl
        self._scope = scope
        self._signature = inspect.signature(function)
        self._name = f"{function.__module__}.{function.__qualname__}"

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's result, or a kept one. Raises what the function does."""
        key, tags = await self._place(args, kwargs)
        result = await self._cached.flights.join(
            key, lambda: self._find_or_call(key, tags, lambda: self._function(*args, **kwargs))
        )
        return cast(R, orjson.loads(result))

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Let the next call with these arguments be a real one, even if one is on its way.

        Other processes may give the former result for ten seconds more; and for as long as it
        lives where Redis is away just now.
        """
        key, _ = await self._place(args, kwargs)
        self._cached.flights.leave_behind(key)
        await self._void(key)

    async def _find_or_call(
        self, key: str, tags: Sequence[str], call: Callable[[], Awaitable[R]]
    ) -> bytes:
        cache, flights = self._cached.cache, self._cached.flights
        [entry] = await cache.get_many([key])
        if entry and (found := self._unpack(entry)) is not None:
            return found
        result = canonical(await call(), f"The result of `{self._name}`")
        if flights.is_newest(key):
            until = self._cached.clock() + self._ttl
            await cache.put(key, b"%.3f %b" % (until, result), self._ttl, tags)
            if not flights.is_newest(key):  # invalidated while that was written
                await self._void(key)
        return result

    async def _place(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, Sequence[str]]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = {
            name: canonical(value, f"The argument `{name}` of `{self._name}`").decode()
            for name, value in bound.arguments.items()
        }
        written = canonical(arguments, "The arguments").decode()
        return await self._cached.place(self._scope, self._name, written)

    def _unpack(self, entry: bytes) -> bytes | None:
        """None for what is over (layers of the cache may keep it a little longer) or no entry."""
        until, _, result = entry.partition(b" ")
        try:
            orjson.loads(result)
            return result if self._cached.clock() < float(until) else None
        except ValueError:
            return None

    async def _void(self, key: str) -> None:
        # In the entry's place: what is freed by its tag may still be there for the next call.
        await self._cached.cache.put(key, b"", 1, ())
