"""What a cached answer's key is made of, and what an entry holds. Pure.

A key contains everything the answer depends on: installation, scope, versions, epochs, encoder,
provider, limits, filters, language, message and the history given to the model. Nothing stale can
be found because a change of any of these makes another key; nothing foreign because tenant and
installation are in it. The tenant's number in braces is all that a Redis Cluster looks at, so that
everything of a tenant is on one server.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import orjson

from app.chat.model import ChatMessage, Citation, Passage, Usage

# Raised when the meaning of an entry changes, so that an upgrade never reads the old ones.
FORMAT = 1
# Of the answers that were read last, so many of at most this size are kept as objects: what is
# asked for all the time is read once. A handful of megabytes at most.
UNPACKED, UNPACKED_BYTES = 128, 8192


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """A complete answer as it was streamed, without ids and timings."""

    passages: Sequence[Passage]
    pieces: Sequence[str]
    citations: Sequence[Citation]
    usage: Usage
    finish_reason: str


def digest(parts: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over the canonical JSON of named parts."""
    return hashlib.sha256(orjson.dumps({**parts, "format": FORMAT}, option=_CANONICAL)).hexdigest()


_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def answer_key(tenant_id: int, parts: Mapping[str, Any]) -> str:
    return f"agent:response:{{{tenant_id}}}:{digest(parts)}"


def passages_key(tenant_id: int, parts: Mapping[str, Any]) -> str:
    return f"rag:chunks:{{{tenant_id}}}:{digest(parts)}"


def semantic_key(tenant_id: int, parts: Mapping[str, Any]) -> str:
    """Of the questions with everything in common but the message."""
    return f"semantic:{{{tenant_id}}}:{digest(parts)}"


def call_key(tenant_id: int, parts: Mapping[str, Any]) -> str:
    """Of what a Python program's own function returned."""
    return f"call:{{{tenant_id}}}:{digest(parts)}"


def tenant_tag(tenant_id: int) -> str:
    """What all entries of a tenant belong to."""
    return f"tenant:{{{tenant_id}}}"


def part_tag(kind: Literal["agent", "portfolio"], tenant_id: int, number: int) -> str:
    """What the entries of one of a tenant's agents or portfolios belong to."""
    return f"{kind}:{{{tenant_id}}}:{number}"


def history_digest(history: Sequence[ChatMessage]) -> str | None:
    """What of the conversation the answer depends on; None where it depends on none of it."""
    return digest({"turns": [(m.role, m.content) for m in history]}) if history else None


def pack_answer(answer: CachedAnswer) -> bytes:
    """Replaying needs the passages' titles but not their text, which is most of the size."""
    passages = [replace(passage, text="") for passage in answer.passages]
    return orjson.dumps(replace(answer, passages=passages))


def unpack_answer(value: bytes) -> CachedAnswer | None:
    """The entry, or None where it is not one (a damaged or foreign value is a miss). Whoever reads
    the same bytes may get the same object, which nobody changes."""
    return _last_unpacked(value) if len(value) <= UNPACKED_BYTES else _unpacked(value)


def _unpacked(value: bytes) -> CachedAnswer | None:
    try:
        fields = orjson.loads(value)
        return CachedAnswer(
            passages=[Passage(**each) for each in fields["passages"]],
            pieces=fields["pieces"],
            citations=[Citation(**each) for each in fields["citations"]],
            usage=Usage(**fields["usage"]),
            finish_reason=fields["finish_reason"],
        )
    except (ValueError, TypeError, KeyError):
        return None


_last_unpacked = lru_cache(UNPACKED)(_unpacked)


def pack_passages(passages: Sequence[Passage]) -> bytes:
    return orjson.dumps(list(passages))


def unpack_passages(value: bytes) -> list[Passage] | None:
    try:
        return [Passage(**each) for each in orjson.loads(value)]
    except (ValueError, TypeError):
        return None
