"""`@cached` on a cache in memory: keys, copies, calls at the same time, and what is not kept."""

import asyncio
from typing import Any

import pytest

from app.chat.cached import Cached
from app.chat.model import Scope
from app.errors import ProviderTimeout, Unavailable
from app.stores.redis_cache import NoCache
from tests.support.core import MemoryCache, default_scope


class Shop:
    """Functions that count their calls; `gate` holds `price` up, and `error` fails it."""

    def __init__(self, cached: Cached, ttl: int = 60, scope: Scope | None = None) -> None:
        self.calls: list[str] = []
        self.began = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.result: Any = None

        @cached(ttl=ttl, scope=scope)
        async def price(item: str, currency: str = "EUR", **options: Any) -> Any:
            """What it costs."""
            self.calls.append(item)
            self.began.set()
            if self.gate is not None:
                await self.gate.wait()
            if self.error is not None:
                raise self.error
            return self.result or {"item": item, "in": currency, "number": len(self.calls)}

        self.price = price


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def cached_on(cache: Any = None, clock: Clock | None = None, installation: str = "") -> Cached:
    cache = MemoryCache() if cache is None else cache
    return Cached(cache, default_scope, installation, clock or Clock())


async def test_a_second_call_is_none_however_its_arguments_are_written() -> None:
    shop = Shop(cached_on())
    first = await shop.price("tea")
    assert first == {"item": "tea", "in": "EUR", "number": 1}
    assert await shop.price(item="tea") == first
    assert await shop.price("tea", currency="EUR") == first
    assert shop.calls == ["tea"]
    assert (await shop.price("tea", "USD"))["number"] == 2
    assert (await shop.price("tea", size=[1, 2]))["number"] == 3
    assert (await shop.price("tea", size=(1, 2)))["number"] == 3


async def test_it_looks_like_the_function() -> None:
    shop = Shop(cached_on())
    assert (shop.price.__name__, shop.price.__doc__) == ("price", "What it costs.")
    with pytest.raises(TypeError, match="missing a required argument: 'item'"):
        await shop.price()  # type: ignore[call-arg]


async def test_every_caller_has_a_copy_and_the_same_one() -> None:
    shop = Shop(cached_on())
    shop.result = {"sizes": (1, 2)}
    first = await shop.price("tea")
    assert first == {"sizes": [1, 2]}
    first["sizes"].append(3)
    assert await shop.price("tea") == {"sizes": [1, 2]}


async def test_tenants_installations_and_functions_have_results_of_their_own() -> None:
    cache = MemoryCache()
    shops = [
        Shop(cached_on(cache)),
        Shop(cached_on(cache), scope=Scope(2)),
        Shop(cached_on(cache, installation="another")),
    ]
    for shop in shops:
        await shop.price("tea")
        assert shop.calls == ["tea"]
    cached = cached_on(cache)

    @cached(ttl=60)
    async def price(item: str) -> str:
        return "another function"

    assert await price("tea") == "another function"
    assert set(cache.tags) == {"tenant:{1}", "tenant:{2}"}


async def test_it_lives_for_its_ttl_whatever_the_cache_keeps() -> None:
    cache, clock = MemoryCache(), Clock()
    shop = Shop(cached_on(cache, clock), ttl=5)
    await shop.price("tea")
    clock.now += 4.9
    await shop.price("tea")
    assert shop.calls == ["tea"]
    assert list(cache.ttls.values()) == [5]
    clock.now += 0.2
    await shop.price("tea")
    assert shop.calls == ["tea", "tea"]


async def test_calls_at_the_same_time_are_one_without_redis_too() -> None:
    shop = Shop(cached_on(NoCache()))
    shop.gate = asyncio.Event()
    calls = [asyncio.create_task(shop.price("tea")) for _ in range(5)]
    other = asyncio.create_task(shop.price("coffee"))
    await shop.began.wait()
    shop.gate.set()
    results = await asyncio.gather(*calls)
    assert shop.calls.count("tea") == 1
    assert all(result == results[0] for result in results)
    assert (await other)["item"] == "coffee"
    await shop.price("tea")
    assert shop.calls.count("tea") == 2  # nothing keeps it


async def test_who_is_cancelled_hurts_nobody_else() -> None:
    shop = Shop(cached_on())
    shop.gate = asyncio.Event()
    first = asyncio.create_task(shop.price("tea"))
    await shop.began.wait()
    others = [asyncio.create_task(shop.price("tea")) for _ in range(2)]
    await asyncio.sleep(0)
    for task in (first, others[0]):
        task.cancel()
    await asyncio.wait({first, others[0]})
    assert first.cancelled() and others[0].cancelled()
    shop.gate.set()
    assert (await others[1])["number"] == 1
    assert shop.calls == ["tea"]


async def test_with_the_last_caller_the_call_ends_and_the_next_one_is_anew() -> None:
    cache = MemoryCache()
    shop = Shop(cached_on(cache))
    shop.gate = asyncio.Event()
    first = asyncio.create_task(shop.price("tea"))
    await shop.began.wait()
    first.cancel()
    await asyncio.wait({first})
    assert cache.entries == {}
    shop.gate.set()
    assert (await shop.price("tea"))["number"] == 2


async def test_errors_reach_all_who_wait_and_are_not_kept() -> None:
    cache = MemoryCache()
    shop = Shop(cached_on(cache))
    shop.gate, shop.error = asyncio.Event(), ProviderTimeout()
    calls = [asyncio.create_task(shop.price("tea")) for _ in range(3)]
    await shop.began.wait()
    shop.gate.set()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, ProviderTimeout) for error in errors)
    assert (shop.calls, cache.entries) == (["tea"], {})
    shop.error = None
    assert (await shop.price("tea"))["number"] == 2


async def test_an_error_nobody_waits_for_any_more_is_nobodys() -> None:
    shop = Shop(cached_on())
    shop.gate = asyncio.Event()

    async def stubborn() -> dict[str, int]:
        shop.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError from None
        return {}

    call = asyncio.create_task(cached_on()(ttl=1)(stubborn)())
    await shop.began.wait()
    call.cancel()
    await asyncio.wait({call})
    assert call.cancelled()


async def test_invalidating_calls_anew_even_behind_one_on_its_way() -> None:
    cache = MemoryCache()
    shop = Shop(cached_on(cache))
    await shop.price("tea")
    await shop.price.invalidate(item="tea")
    assert (await shop.price("tea"))["number"] == 2

    await shop.price.invalidate("tea")
    shop.began.clear()
    gate = shop.gate = asyncio.Event()
    stale = asyncio.create_task(shop.price("tea"))
    await shop.began.wait()
    await shop.price.invalidate("tea")
    shop.gate = None
    assert (await shop.price("tea"))["number"] == 4
    gate.set()
    assert (await stale)["item"] == "tea"
    assert (await shop.price("tea"))["number"] == 4  # and not what came later and was older


async def test_invalidating_while_the_result_is_put_in_is_heard() -> None:
    class SlowCache(MemoryCache):
        putting = asyncio.Event()
        go_on = asyncio.Event()

        async def put(self, key: str, value: bytes, ttl_seconds: int, tags: Any) -> None:
            if value and not self.putting.is_set():
                self.putting.set()
                await self.go_on.wait()
            await super().put(key, value, ttl_seconds, tags)

    cache = SlowCache()
    shop = Shop(cached_on(cache))
    call = asyncio.create_task(shop.price("tea"))
    await cache.putting.wait()
    await shop.price.invalidate("tea")
    cache.go_on.set()
    await call
    assert (await shop.price("tea"))["number"] == 2


async def test_what_is_no_json_is_a_type_error_that_names_it() -> None:
    cache = MemoryCache()
    shop = Shop(cached_on(cache))
    with pytest.raises(TypeError, match=r"argument `item` of `.*price` must be JSON.* no object"):
        await shop.price(object())  # type: ignore[arg-type]
    assert shop.calls == []
    shop.result = {1, 2}
    with pytest.raises(TypeError, match=r"result of `.*price` must be JSON.* no set"):
        await shop.price("tea")
    assert cache.entries == {}


async def test_a_damaged_entry_is_none() -> None:
    cache = MemoryCache()
    shop = Shop(cached_on(cache))
    await shop.price("tea")
    for damaged in (b"", b"x", b"9999999999 {", b"soon {}", b"\xff\xfe"):
        cache.entries = dict.fromkeys(cache.entries, damaged)
        await shop.price("tea")
    assert len(shop.calls) == 6


@pytest.mark.parametrize("ttl", [0, -1, 1.5, "60", None])
def test_a_life_is_a_whole_number_of_seconds(ttl: Any) -> None:
    with pytest.raises(ValueError, match="`ttl`"):
        cached_on()(ttl=ttl)


def test_only_coroutine_functions_are_taken() -> None:
    def plain() -> int:
        return 1

    with pytest.raises(TypeError, match="async def"):
        cached_on()(ttl=1)(plain)  # type: ignore[arg-type]


async def test_closing_stops_calls_and_says_so() -> None:
    cached = cached_on()
    shop = Shop(cached)
    shop.gate = asyncio.Event()
    call = asyncio.create_task(shop.price("tea"))
    await shop.began.wait()
    await cached.close()
    with pytest.raises(Unavailable):
        await call
