"""Which entries belong to what, in Redis, so that they can be counted and freed before they end.

Entries with the same tags share an index, a sorted set of their keys by when they end; each tag has
the names of its indexes. So an entry is known in one place however many tags it has (0.3 KB of
overhead instead of 0.7), is never counted twice, and a tag has few indexes: an agent's are as many
as the portfolios it is asked on.

All of it is at one place of a cluster: an entry's tags have the braces that its key has.
"""

import time
from collections.abc import Sequence
from hashlib import blake2b
from uuid import uuid4

from app.stores.redis_commands import hash_tag
from app.stores.redis_line import Command

FREED_AT_ONCE = 500  # entries a command: keeps Redis responsive for others

# The first name is the index, the others are those of the tags. What has ended goes; nothing lives
# shorter than before.
PUT_UNDER = """
local key, now, ends, lives = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local function note(name, member)
  redis.call('ZREMRANGEBYSCORE', name, '-inf', now)
  redis.call('ZADD', name, 'GT', ends, member)
  if redis.call('TTL', name) < lives then redis.call('EXPIRE', name, lives) end
end
note(KEYS[1], key)
for i = 2, #KEYS do note(KEYS[i], KEYS[1]) end
"""

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

FREE_SOME = """
local keys = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)
if #keys > 0 then
  redis.call('UNLINK', unpack(keys))
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, #keys - 1)
end
return #keys
"""


def put_under(key: str, ttl_seconds: int, tags: Sequence[str]) -> Sequence[Command]:
    """What lets the key be found by each of its tags while it lives. Put again, it has the same
    tags in the same order."""
    if not tags:
        return ()
    now = time.time()
    names = (_index(tags), *(_indexes(tag) for tag in tags))
    return [("EVAL", PUT_UNDER, len(names), *names, key, now, now + ttl_seconds, ttl_seconds)]


def set_aside(tag: str) -> Command:
    """Take the tag's entries out of its indexes. The reply is how many live, and the names of the
    sets where they are now."""
    aside = f"cache:dropped:{hash_tag(tag)}{uuid4().hex}:"
    return ("EVAL", SET_ASIDE, 2, _indexes(tag), aside, time.time())


def free_some(aside: bytes) -> Command:
    """Remove a batch of entries of such a set. The reply is how many there were."""
    return ("EVAL", FREE_SOME, 1, aside, FREED_AT_ONCE)


def _index(tags: Sequence[str]) -> str:
    """A short name: sets of members beyond 64 bytes take a kilobyte when they are nearly empty."""
    name = blake2b("|".join(tags).encode(), digest_size=8).hexdigest()
    return f"cache:index:{hash_tag(tags[0])}{name}"


def _indexes(tag: str) -> str:
    return f"cache:indexes:{tag}"
