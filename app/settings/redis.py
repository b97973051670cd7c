"""The addresses of Redis that there are."""

import re

from pydantic_core import PydanticCustomError

KNOWN = re.compile("(rediss?|unix)://")
# At least a host and a master; the options there are.
_OPTION = r"(db=\d+|sentinel_(username|password)=[^&#]*)"
SENTINEL = re.compile(rf"redis\+sentinel://[^/?#]+/[^/?#]+(\?{_OPTION}(&{_OPTION})*)?")
_PLACE = r"([^/?#@,:\[\]]+|\[[\da-fA-F:.]+\])(:\d{1,5})?"
CLUSTER = re.compile(rf"redis\+cluster://([^/?#@]*@)?{_PLACE}(,{_PLACE})*/?")


def redis_address(value: str) -> str:
    """The address as it is. Raises PydanticCustomError with what to write instead."""
    if value.startswith("redis+cluster:"):
        if CLUSTER.fullmatch(value) is None:
            raise _refusal(
                "write redis+cluster://user:password@host:6379,host:6379 with some of the "
                "cluster's servers; it has one database, and there are no options"
            )
    elif value.startswith("redis+sentinel:"):
        if SENTINEL.fullmatch(value) is None:
            raise _refusal(
                "write redis+sentinel://user:password@host:26379,host:26379/master?db=0; the other "
                "options are sentinel_username and sentinel_password"
            )
    elif value.startswith(("rediss+sentinel:", "rediss+cluster:")):
        raise _refusal("TLS to several servers is not supported, only to one (rediss://)")
    elif KNOWN.match(value) is None:
        raise _refusal(
            "it begins with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
        )
    return value


def _refusal(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("redis_address", "{sentence}", {"sentence": sentence})
