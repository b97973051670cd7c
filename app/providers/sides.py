"""What the form of a question asks for: several of a kind, or the sides of a comparison."""

import re

from app.providers.words import terms

# Ends in s and is not one of the singular words that stand where a plural would, or like "process".
_PLURAL = r"(?!(?:does|was|has|es|eras)\b)[^\W\d_]\w*(?<![sui])s\b"
# Where a question begins; elsewhere "from which …", "que …" may only continue a clause.
_ASKING = r"(?:^|[.:;,!?¿¡]|\b(?:me|us|know|and|or|of)\b)\W{0,4}(?:(?:in|for|on|with|en|de|con) )?"
# What stands before a noun, as far as it is no verb or article: "machine learning" projects.
_UP_TO_TWO = (
    r"(?:(?!(?:is|was|has|had|does|did|do|can|could|will|would|should|the|an?)\b)[\w+#-]+ ){0,2}?"
)
_SEVERAL = re.compile(
    # "what React projects …", "which of the projects …", "what are the results …"
    rf"{_ASKING}(?:what|which) (?:(?:of|are|were|our|your|the|all) )*{_UP_TO_TWO}{_PLURAL}"
    # "qué proyectos …", "cuáles son los proyectos …"
    rf"|(?:\bqué|\bcu[aá]les|{_ASKING}que) (?:(?:son|eran|de|l[oa]s|nuestr[oa]s|otr[oa]s) )*"
    rf"{_PLURAL}"
    # "list the projects …", "show me projects …", "enumera los proyectos …"
    r"|^\W{0,4}(?:please )?(?:list|enumerate|enumera|lista)\b"
    r"|^\W{0,4}(?:please )?(?:show|name|give) (?:(?:me|us|the|all|our|your) )*"
    rf"{_UP_TO_TWO}{_PLURAL}",
    re.IGNORECASE,
)

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
# What all sides are, said once: "… and React projects", "los proyectos de Python y …".
# A capital makes it a part of the side's name.
_LAST_HEAD = re.compile(rf"\S\s+(?P<head>(?![A-Z]){_PLURAL})\W*$")
_FIRST_HEAD = re.compile(rf"\b(?P<head>(?![A-Z]){_PLURAL})\s+(?:de|en|con)\s+\S")


def asks_for_several(question: str) -> bool:
    """True where the question's words ask for more than one thing of a kind."""
    return _SEVERAL.search(_single_spaced(question)) is not None


def sides_of(question: str) -> list[frozenset[str]]:
    """The stems of each side of "compare X and Y", "X versus Y", "diferencia entre X y Y"; words
    that every side has, or that are said once for all, are left out. Empty where the question
    names no two sides."""
    question = _single_spaced(question)
    parts = _VERSUS.split(question)
    if len(parts) > 1:
        parts[0] = _LEAD.sub("", parts[0])
    elif match := _BETWEEN.search(question):
        parts = _AND.split(match["rest"])
    parts = [part for part in parts if terms(part)]
    if len(parts) < 2:
        return []
    sides = [frozenset(terms(part)) for part in parts]
    common = frozenset.intersection(*sides) | _head(parts)
    return [side - common for side in sides if side - common]


def _single_spaced(question: str) -> str:
    """Long runs of space would cost the patterns the square of their length."""
    return " ".join(question.split())


def _head(parts: list[str]) -> frozenset[str]:
    """The plural noun that stands at the last side, or in Spanish at the first, for all."""
    match = _LAST_HEAD.search(parts[-1]) or _FIRST_HEAD.search(parts[0])
    return frozenset(terms(match["head"])) if match else frozenset()
