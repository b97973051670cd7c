"""The sides of a comparison, as far as the question names them plainly."""

import re

from app.providers.words import terms

_VERSUS = re.compile(r"\s+(?:vs\.?|versus|compared (?:to|with)|frente a|contra)\s+", re.IGNORECASE)
_BETWEEN = re.compile(
    r"\b(?:compare|comparing|comparison of|differences?|difference between|between|compara(?:r|me)?"
    r"|comparaci[oó]n|diferencias?|entre)\b(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_AND = re.compile(r"\s+(?:and|with|to|y|e|con|o|or)\s+|,\s*", re.IGNORECASE)
# What comes before the first side of "… of X versus Y".
_LEAD = re.compile(
    r".*\b(?:compare|between|compara(?:r|me)?|entre|in|of|for|en|de|is|es)\s+",
    re.IGNORECASE | re.DOTALL,
)


def sides_of(question: str) -> list[frozenset[str]]:
    """The stems of each side of "compare X and Y", "X versus Y", "diferencia entre X y Y"; words
    that every side has are left out. Empty where the question names no two sides."""
    parts = _VERSUS.split(question)
    if len(parts) > 1:
        parts[0] = _LEAD.sub("", parts[0])
    elif match := _BETWEEN.search(question):
        parts = _AND.split(match["rest"])
    sides = [frozenset(terms(part)) for part in parts]
    sides = [side for side in sides if side]
    if len(sides) < 2:
        return []
    common = frozenset.intersection(*sides)
    return [side - common for side in sides if side - common]
