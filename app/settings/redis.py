"""The addresses of Redis that there are."""

import re

from pydantic_core import PydanticCustomError

KNOWN = re.compile("(rediss?|unix)://")
# At least a host and a master; the options there are.
_OPTION = r"(db=\d+|sentinel_(username|password)=[^&#]*)"
SENTINEL = re.compile(rf"redis\+sentinel://[^/?#]+/[^/?#]+(\?{_OPTION}(&{_OPTION})*)?")


def redis_address(value: str) -> str:
    """The address as it is. Raises PydanticCustomError with what to write instead."""
    if value.startswith(("redis+cluster:", "rediss+cluster:")):
        raise _refusal(
            "Redis Cluster is not supported yet, because scripts go through keys of several "
            "slots; name one server (redis://, rediss://, unix://), or redis+sentinel:// for one "
            "that fails over"
        )
    if value.startswith("redis+sentinel:"):
        if SENTINEL.fullmatch(value) is None:
            raise _refusal(
                "write redis+sentinel://user:password@host:26379,host:26379/master?db=0; the other "
                "options are sentinel_username and sentinel_password"
            )
    elif KNOWN.match(value) is None:
        raise _refusal("it begins with redis://, rediss://, unix:// or redis+sentinel://")
    return value


def _refusal(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("redis_address", "{sentence}", {"sentence": sentence})
