"""A function of your own, whose results are kept beside the answers.

python examples/cached_function.py
"""

import asyncio

from app import Settings, open_engine


async def main() -> None:
    async with open_engine(Settings()) as engine:
        cached = engine.cached

        @cached(ttl=60)
        async def price(item: str) -> dict[str, float]:
            print(f"asking the shop for {item}")
            return {item: 2.5}

        print(await price("tea"))
        print(await price(item="tea"))  # the shop is not asked
        print(await asyncio.gather(price("coffee"), price("coffee")))  # asked once
        await price.invalidate("tea")
        print(await price("tea"))


asyncio.run(main())
