"""Which entries belong to what, in Redis, so that they can be counted and freed before they end.

Entries with the same tags share an index, a sorted set of their keys by when they end; each tag has
the names of its indexes. So an entry is known in one place however many tags it has (0.3 KB of
overhead instead of 0.7), is never counted twice, and a tag has few indexes: an agent's are as many
as the portfolios it is asked on.
"""

import time
from collections.abc import Sequence
from hashlib import blake2b
from uuid import uuid4

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

FREED_AT_ONCE = 500  # entries a command: keeps Redis responsive for others

# One round trip, and for each index a logarithmic and a constant step, however many entries it has.
# What is renamed keeps its expiry, and goes even if nobody lives to free its entries.
SET_ASIDE = """
local living, aside = 0, {}
local after = '(' .. ARGV[1]
for _, index in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], after, '+inf')) do
  local count = redis.call('ZCOUNT', index, after, '+inf')
  if count > 0 then
    living = living + count
    aside[#aside + 1] = KEYS[2] .. #aside
    redis.call('RENAME', index, aside[#aside])
  end
end
return {living, aside}
"""


def put_under(pipe: Pipeline, key: str, ttl_seconds: int, tags: Sequence[str]) -> None:
    """Queue what lets the key be found by each of its tags while it lives. Put again, it has the
    same tags in the same order."""
    if not tags:
        return
    now = time.time()
    index = _index(tags)
    for name, member in [(index, key), *((_indexes(tag), index) for tag in tags)]:
        pipe.zremrangebyscore(name, "-inf", now)
        pipe.zadd(name, {member: now + ttl_seconds}, gt=True)
        pipe.expire(name, ttl_seconds, gt=True)
        pipe.expire(name, ttl_seconds, nx=True)


async def set_aside(redis: Redis, tag: str) -> tuple[int, Sequence[bytes]]:
    """Take the tag's entries out of its indexes; how many live, and the names of the sets where
    they are now."""
    names = _indexes(tag), f"cache:dropped:{uuid4().hex}:"
    living, aside = await redis.eval(SET_ASIDE, 2, *names, str(time.time()))
    return living, aside


async def free_some(redis: Redis, aside: bytes) -> bool:
    """Remove a batch of entries of such a set; whether there were any."""
    keys = await redis.zrange(aside, 0, FREED_AT_ONCE - 1)
    if not keys:
        return False
    async with redis.pipeline(transaction=False) as pipe:
        pipe.unlink(*keys)
        pipe.zremrangebyrank(aside, 0, len(keys) - 1)
        await pipe.execute()
    return True


def _index(tags: Sequence[str]) -> str:
    """A short name: sets of members beyond 64 bytes take a kilobyte when they are nearly empty."""
    return f"cache:index:{blake2b('|'.join(tags).encode(), digest_size=8).hexdigest()}"


def _indexes(tag: str) -> str:
    return f"cache:indexes:{tag}"
