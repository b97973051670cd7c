"""The keys of AGENT_KMS_KEY: the first one encrypts, every one decrypts."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
ID_BYTES = 8
MAKE_ONE = "make one with `openssl rand -base64 32`"


class InvalidKeys(ValueError):
    """The list of keys is not usable; the message says what to do, and never holds a key."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """One key of the operator's. `id` is the beginning of its SHA-256: it names the key in what
    was wrapped by it, and tells nobody anything of 256 random bits."""

    id: bytes
    cipher: AESGCM = field(repr=False, compare=False)


def parse_keys(text: str) -> tuple[MasterKey, ...]:
    """The keys of a list with commas between them, each 32 bytes in base64 (either alphabet, with
    or without padding). Raises InvalidKeys."""
    keys = [_parsed(part.strip(), place) for place, part in enumerate(text.split(","), start=1)]
    ids = [key.id for key in keys]
    for place, each in enumerate(ids, start=1):
        first = ids.index(each) + 1
        if first < place:
            raise InvalidKeys(f"the keys {first} and {place} are the same; remove one of them.")
    return tuple(keys)


def named(keys: Sequence[MasterKey], key_id: bytes) -> MasterKey | None:
    """The key of this id."""
    return next((key for key in keys if key.id == key_id), None)


def _parsed(text: str, place: int) -> MasterKey:
    if not text:
        raise InvalidKeys(f"the key {place} of the list is empty; remove it, or {MAKE_ONE}.")
    try:
        padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        secret = base64.b64decode(padded.translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidKeys(f"the key {place} of the list is not base64; {MAKE_ONE}.") from None
    if len(secret) != KEY_BYTES:
        raise InvalidKeys(
            f"the key {place} of the list has {len(secret)} bytes instead of {KEY_BYTES}; "
            f"{MAKE_ONE}."
        )
    return MasterKey(hashlib.sha256(secret).digest()[:ID_BYTES], AESGCM(secret))


_URL_SAFE = str.maketrans("-_", "+/")
