"""UUIDv7 identifiers: ordered by creation time, unguessable in their 74 random bits."""

from uuid import UUID


def uuid7(unix_ms: int, random: bytes) -> UUID:
    """A version 7 UUID (RFC 9562 §5.7) of a Unix time in milliseconds and 10 random bytes."""
    value = (unix_ms & (1 << 48) - 1) << 80 | int.from_bytes(random[:10], "big")
    value &= ~(0xF << 76) & ~(0x3 << 62) & (1 << 128) - 1
    return UUID(int=value | 0x7 << 76 | 0x2 << 62)
