"""Which key a command is about, and which part of it a cluster looks at."""

from app.stores.redis_line import Command

_AFTER = {"EVAL": 3}


def key_of(command: Command) -> str:
    """The first key; others, where there are any, are at the same place."""
    if command[0] == "XREAD":
        return _text(command[command.index("STREAMS") + 1])
    return _text(command[_AFTER.get(str(command[0]), 1)])


def hash_tag(key: str) -> str:
    """The braces of a key with what is in them; nothing where it has none."""
    start = key.find("{")
    return key[start : key.find("}", start) + 1] if start >= 0 else ""


def _text(value: str | bytes | int | float) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
