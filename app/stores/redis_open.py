"""An address → what it names."""

from app.stores.redis_client import open_redis
from app.stores.redis_cluster import SCHEME, RedisCluster
from app.stores.redis_servers import OneServer, Servers


def open_servers(url: str, timeout_seconds: float, connect_seconds: float | None = None) -> Servers:
    """A server, the master behind sentinels, or a cluster. A line waits `timeout_seconds` for an
    answer; other connections take `connect_seconds` at most to be opened."""
    if url.startswith(f"{SCHEME}:"):
        return RedisCluster(url, timeout_seconds, connect_seconds)
    redis = open_redis(
        url,
        socket_connect_timeout=connect_seconds,
        # The deadlines are the lines' and the callers'. The client would send within
        # `asyncio.wait_for`, which on Python 3.11 loses a cancellation that meets the end of what
        # it waits for.
        socket_timeout=None,
    )
    return OneServer(redis, timeout_seconds)
