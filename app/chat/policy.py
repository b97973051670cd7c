"""What the operator decided, as far as a question's way depends on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided for every question.

    `addresses` are the providers' by name: at another one a model of the same name may be another.
    `installation` is the database's: ids and versions count from 1 in each that shares a Redis.
    """

    answer_cache: bool = True
    dynamic_context: bool = True
    answer_ttl_seconds: int = 3600
    passages_ttl_seconds: int = 1800
    history_tokens: int = 1500
    sources: Sequence[str] = ()
    addresses: Mapping[str, str | None] = field(default_factory=dict)
    installation: str = ""
