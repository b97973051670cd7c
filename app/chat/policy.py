"""What the operator decided, as far as a question's way depends on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided for every question.

    `addresses` are the providers' by name: at another one a model of the same name may be another.
    `installation` is the database's: ids and versions count from 1 in each that shares a Redis.
    `rewrite` lets retrieval be asked for a follow-up as a question of its own, for which a model
    has `rewrite_seconds`. A passage has at most about `passage_tokens`.
    """

    answer_cache: bool = True
    dynamic_context: bool = True
    rewrite: bool = True
    rewrite_seconds: float = 3.0
    answer_ttl_seconds: int = 3600
    passages_ttl_seconds: int = 1800
    history_tokens: int = 1500
    passage_tokens: int = 250
    sources: Sequence[str] = ()
    addresses: Mapping[str, str | None] = field(default_factory=dict)
    installation: str = ""
