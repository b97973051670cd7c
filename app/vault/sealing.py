"""Envelope encryption of single values: a random data key for each, wrapped by the operator's key.

A sealed value, version 1, is these bytes:

    0       1    the version, 1
    1       8    the id of the key that wraps the data key (`app.vault.keyring`)
    9      12    nonce of the wrapping
    21     48    the data key (32) in AES-256-GCM under the operator's key, with its tag (16)
    69     12    nonce of the value
    81  n + 16   the value (n) in AES-256-GCM under the data key, with its tag (16)

The associated data of both are one byte for which of the two it is (1: data key, 2: value), for
the data key all that stands before its nonce, and then the place: tenant, table, row and column,
each with its length in four bytes before it. So a value opens nowhere but where it was sealed: not
in another row, not for another tenant, not under another column's name.

Nonces are random. Under one key of the operator's fewer than 2**32 values may be sealed (NIST SP
800-38D, 8.3); a data key encrypts one value.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import Conflict
from app.vault.keyring import ID_BYTES, KEY_BYTES, MasterKey, named

VERSION = b"\x01"
NONCE_BYTES = 12
TAG_BYTES = 16
WRAPPED = len(VERSION) + ID_BYTES
VALUE = WRAPPED + NONCE_BYTES + KEY_BYTES + TAG_BYTES
LEAST_BYTES = VALUE + NONCE_BYTES + TAG_BYTES
DATA_KEY, CONTENT = b"\x01", b"\x02"


class Undecryptable(Exception):
    """Sealed under a key that is not known any more, or somewhere else, or damaged."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value stands."""

    tenant_id: int
    table: str
    row: int
    column: str

    def encoded(self) -> bytes:
        parts = (str(self.tenant_id), self.table, str(self.row), self.column)
        return b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in parts)


class Vault:
    """Seals under the first of its keys, opens under any. Without keys it opens nothing."""

    def __init__(self, keys: Sequence[MasterKey] = ()) -> None:
        self._keys = tuple(keys)

    def seal(self, value: bytes, place: Place) -> bytes:
        """The value encrypted for its place. Conflict where there is no key to do it with."""
        master, data_key = self._first(), os.urandom(KEY_BYTES)
        nonce, of_value = os.urandom(NONCE_BYTES), os.urandom(NONCE_BYTES)
        head, where = VERSION + master.id, place.encoded()
        wrapped = master.cipher.encrypt(nonce, data_key, DATA_KEY + head + where)
        content = AESGCM(data_key).encrypt(of_value, value, CONTENT + where)
        return head + nonce + wrapped + of_value + content

    def open(self, sealed: bytes, place: Place) -> bytes:
        """The value. Raises Undecryptable."""
        head, where = sealed[:WRAPPED], place.encoded()
        master = named(self._keys, head[len(VERSION) :])
        if len(sealed) < LEAST_BYTES or not head.startswith(VERSION) or master is None:
            raise Undecryptable
        nonce, wrapped = _split(sealed[WRAPPED:VALUE])
        of_value, content = _split(sealed[VALUE:])
        try:
            data_key = master.cipher.decrypt(nonce, wrapped, DATA_KEY + head + where)
            return AESGCM(data_key).decrypt(of_value, content, CONTENT + where)
        except InvalidTag:
            raise Undecryptable from None

    def newest_prefix(self) -> bytes:
        """What everything begins with that is sealed from now on. Conflict without a key."""
        return VERSION + self._first().id

    def reseal(self, sealed: bytes, place: Place) -> bytes:
        """The same value under the first key. Raises Undecryptable for one that does not open:
        it is not made to look new."""
        return self.seal(self.open(sealed, place), place)

    def _first(self) -> MasterKey:
        if not self._keys:
            raise Conflict(
                "This server keeps no provider keys, because it has nothing to encrypt them "
                "with: set AGENT_KMS_KEY (`openssl rand -base64 32`) and start again."
            )
        return self._keys[0]


def _split(part: bytes) -> tuple[bytes, bytes]:
    return part[:NONCE_BYTES], part[NONCE_BYTES:]
