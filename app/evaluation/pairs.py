"""How well a semantic cache tells the same question from another one: pairs, measured. Pure but
for the encoder."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app.chat.guards import declined
from app.chat.language import detect_language, normalise_language
from app.chat.normalise import check_text, normalise_message
from app.chat.ports import Encoder
from app.errors import InvalidInput

MAX_CHARS = 8000
THRESHOLDS = [round(0.70 + step / 100, 2) for step in range(31)]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions in one language, and whether one answer serves both."""

    left: str
    right: str
    same: bool
    language: str


@dataclass(frozen=True, slots=True)
class Compared:
    """A pair with the cosine of its vectors and the guard that declines it, if one does."""

    pair: Pair
    cosine: float
    declined: str | None

    def hits(self, threshold: float, guarded: bool = True) -> bool:
        return self.cosine >= threshold and not (guarded and self.declined)


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of how many, with Wilson's 95 % interval."""

    count: int
    of: int

    @property
    def value(self) -> float:
        return self.count / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.count, self.of)


def wilson(count: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """The score interval of a proportion (Wilson, 1927), which holds for 0 of n too."""
    if of == 0:
        return 0.0, 1.0
    share, square = count / of, z * z
    middle = (share + square / (2 * of)) / (1 + square / of)
    reach = z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def read_pairs(file: Path) -> list[Pair]:
    """The pairs of a file of JSON Lines; InvalidInput names the line that is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read.") from error
    pairs = [_pair(file, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not pairs:
        raise InvalidInput(f"{file} has no pairs.")
    return pairs


def _pair(file: Path, number: int, line: str) -> Pair:
    try:
        fields: Any = orjson.loads(line)
        left, right = (check_text(fields[side], side, MAX_CHARS) for side in ("left", "right"))
        same, given = fields["same"], fields.get("language")
        language = normalise_language(given) if given else detect_language(left)
        if not isinstance(same, bool) or language is None:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, InvalidInput) as error:
        raise InvalidInput(
            f"{file}, line {number}: a pair is left and right (texts), same (true or false) and, "
            "if known, language (as en or es)."
        ) from error
    return Pair(normalise_message(left), normalise_message(right), same, language)


async def compare(encoder: Encoder, pair: Pair) -> Compared:
    """Encode both as questions are. Raises EncoderUnavailable."""
    left, right = await encoder.embed_query(pair.left), await encoder.embed_query(pair.right)
    cosine = math.fsum(a * b for a, b in zip(left, right, strict=True))
    return Compared(pair, cosine, declined(pair.left, pair.right, pair.language))


def hit_rate(compared: Iterable[Compared], threshold: float, guarded: bool = True) -> Rate:
    """Of the pairs that are the same question."""
    same = [each for each in compared if each.pair.same]
    return Rate(sum(each.hits(threshold, guarded) for each in same), len(same))


def false_hit_rate(compared: Iterable[Compared], threshold: float, guarded: bool = True) -> Rate:
    """Of the pairs that are not."""
    others = [each for each in compared if not each.pair.same]
    return Rate(sum(each.hits(threshold, guarded) for each in others), len(others))


def curve(compared: Sequence[Compared]) -> dict[str, list[float]]:
    """The four rates at each of THRESHOLDS, by name."""
    rates = {"hits": hit_rate, "false": false_hit_rate}
    return {
        f"{name}{'' if guarded else ', no guards'}": [
            rate(compared, threshold, guarded).value for threshold in THRESHOLDS
        ]
        for guarded in (True, False)
        for name, rate in rates.items()
    }


def guards_used(compared: Iterable[Compared]) -> dict[str, tuple[int, int]]:
    """By guard: how many pairs of other questions it declines, and how many of the same."""
    counts: dict[str, tuple[int, int]] = {}
    for each in compared:
        if each.declined:
            others, same = counts.get(each.declined, (0, 0))
            counts[each.declined] = (others + (not each.pair.same), same + each.pair.same)
    return dict(sorted(counts.items()))
