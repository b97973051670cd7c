"""Whether a message means something only in its conversation: "and the second one?". Pure.

By rules, English and Spanish: what takes up the turn before, a pronoun without its noun, a
comparison without its other side, an answer to a question, a fragment. Where it is a conversation's
message that is taken for one of these, its answer is shared with no other conversation; where one
is missed, it may be answered as if nothing had been said before. So a doubt counts as yes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from app.chat.guards import fold, read
from app.chat.model import REMEMBERED_MESSAGES

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Without a word that asks or does something, this many are no question.
FRAGMENT_WORDS = 3


@dataclass(frozen=True, slots=True)
class _Rules:
    """A language's: `opening` at the start and `within` anywhere make a follow-up; `asking` are
    the words without which a few others are a fragment."""

    opening: re.Pattern[str]
    within: re.Pattern[str]
    asking: re.Pattern[str]


_ENGLISH = _Rules(
    opening=re.compile(
        r"(?:and|but|or|so|then|also|else|what about|how about|what if|how come|why not|why so|"
        r"same|likewise|more|another|others?|again|instead|in that case|if so|if not|otherwise|"
        r"yes|yeah|yep|no|nope|ok|okay|sure|right|really|go on|continue|tell me more|"
        r"(?:can|could|would) you (?:elaborate|explain (?:more|further|again)|expand|clarify|"
        r"repeat|summari[sz]e|rephrase|translate)|elaborate|expand|clarify|repeat|summari[sz]e|rephrase|"
        r"shorter|longer|simpler|briefly|in (?:english|spanish|detail|short)|"
        r"the (?:first|second|third|(?:four|fif|six|seven|eigh|nin|ten)th|"
        r"\d+(?:st|nd|rd|th)|last|other|former|latter|same|next|previous)"
        r"(?: ones?)?\s*\W*$|number (?:\w+)\s*\W*$|are you (?:sure|certain)|go back|"
        r"that(?:['’]s| is) (?:wrong|right|not|true|false|incorrect)|"
        r"which (?:is|was|are|were) \w+\s*\W*$|"
        r"how (?:many|much) (?:in (?:total|all)|exactly)\s*\W*$|"
        r"(?:why|how|when|where|who|which|what|really|how so|since when|for what|with whom|"
        r"which ones?|what else|who else|where else|anything else|how (?:many|much|long|often))"
        r"\s*\W*$)(?!\w)"
    ),
    within=re.compile(
        r"\b(?:he|him|his|himself|she|her|hers|they|them|their|theirs|its|itself|these|those|"
        r"it(?! (?:takes?|possible|ok|okay|safe|allowed|necessary)\b)|"
        r"this(?! (?:year|month|week|quarter|morning|afternoon|evening|spring|summer|autumn|"
        r"winter|decade|century)\b)|"
        r"(?:about|of|to|for|with|from|by|is|was|are|do|does|did|like|than|on|in|after|before|why|"
        r"how|what|can|use|explain|mean|all) that|(?:that|another)(?=\s*\W*$)|"
        r"(?:the|that|this|each|which|another|other|first|second|third|(?:four|fif|six|seven|eigh|nin|ten)th|"
        r"\d+(?:st|nd|rd|th)|last|next|previous|same|any|every|the \w+) ones?|one of|"
        r"the (?:former|latter|others?|same|rest)|"
        r"the (?:first|second|third|(?:four|fif|six|seven|eigh|nin|ten)th|last|next|details?|"
        r"alternatives?)(?=\s*\W*$)|"
        r"(?:examples?|\w+ more)(?=\s*\W*$)|"
        r"(?:you|we|i) (?:just )?(?:said|mentioned|told|listed|wrote|meant|asked|talked)|"
        r"did (?:you|we|i) (?:say|mention|tell|list|write|mean|ask)|"
        r"(?:shorten|summari[sz]e|translate|repeat|rephrase|expand|simplify) (?:the|your) "
        r"(?:last )?(?:answer|text|list|table|summary|reply|response)|"
        r"(?:above|aforementioned|mentioned|earlier answer|previous answer|last answer|"
        r"your answer)|both|neither|either|none|such|"
        r"(?<!is )(?<!are )(?<!was )(?<!were )(?<!hi )(?<!hello )(?<!hey )"
        r"there(?! (?:is|are|was|were|be|been|any)\b)|"
        r"so far|in (?:that|this) case|else|too|as well|instead|again|"
        r"(?:the )?(?:first|second|third|last|other) (?:two|three|few|of)|"
        r"all of (?:them|these|those)|here)\b"
        r"|\b(?:cheaper|better|worse|faster|slower|older|newer|bigger|smaller|larger|longer|"
        r"shorter|higher|lower|easier|harder|earlier|later|sooner|closer|nearer|younger|"
        r"more \w+|less \w+)\s*\W*$"
    ),
    asking=re.compile(
        r"\b(?:who|what|when|where|why|how|which|whose|whom|is|are|was|were|do|does|did|can|could|"
        r"will|would|should|has|have|had|may|list|show|give|tell|explain|describe|compare|find|"
        r"summari[sz]e|name|write|hi|hello|hey|thanks|thank|bye|help)\b"
    ),
)

_SPANISH = _Rules(
    opening=re.compile(
        r"(?:y|e|pero|o|entonces|pues|tambien|ademas|que tal|que pasa con|y si|por que no|lo mismo|"
        r"igualmente|mas|otr[oa]s?|de nuevo|otra vez|en ese caso|si es asi|si no|si|no|vale|"
        r"de acuerdo|claro|ok|bueno|sigue|continua|cuentame mas|dime mas|"
        r"(?:puedes|podrias|puede|podria) (?:explicar(?:lo|la)?(?: mas| mejor| de nuevo)?|"
        r"ampliar\w*|aclarar\w*|repetir\w*|resumir\w*|traducir\w*|elaborar)\s*\W*$|amplia|aclara|repite|resume|"
        r"traduce|en (?:ingles|espanol|detalle|resumen)|"
        r"(?:el|la|los|las) (?:primer[oa]?|segund[oa]|tercer[oa]?|cuart[oa]|quint[oa]|ultim[oa]|"
        r"otr[oa]|mism[oa]|siguiente|anterior)s?(?:,? por favor)?\s*\W*$|(?:el )?numero \w+\s*\W*$|"
        r"(?:la|el|lo) mism[oa]|hay (?:mas|otr[oa]s?)\s*\W*$|como (?:una )?(?:tabla|lista)\s*\W*$|"
        r"es (?:mayor|menor|mejor|peor|(?:mas|menos) \w+) que|me refiero|"
        r"(?:cuant[oa]s en total|que edad tiene|cuantos años tiene)\s*\W*$|"
        r"quien (?:es|fue|era) (?:el|la) (?:responsable|autora?|ganadora?|encargad[oa])\s*\W*$|"
        r"(?:por que|como|cuando|donde|quien|cual|cuales|que|que mas|quien mas|cuant[oa]s?|"
        r"desde cuando|para que|con quien|algo mas|de verdad)\s*\W*$)(?!\w)"
    ),
    within=re.compile(
        r"\b(?:ella|ellos|ellas|ello|lo|le|les|su|sus|suy[oa]s?|es[oea]s?|"
        r"est[oea]s?(?! (?:ano|año|mes|semana|trimestre|manana|mañana|tarde|noche|primavera|verano|"
        r"otono|otoño|invierno|decada|siglo)\b)|"
        r"aquell[oa]s?|aquel|(?:el|la|los|las) (?:que|cual(?:es)?)(?=\s*\W*$)|"
        r"(?:el|la|los|las) (?:primer[oa]?|segund[oa]|tercer[oa]?|cuart[oa]|quint[oa]|ultim[oa]|"
        r"otr[oa]|mism[oa]|siguiente|anterior|alternativa|detalle|idea)s?(?=\s*\W*$)|"
        r"(?:ejemplos?|\w+ mas)(?=\s*\W*$)|uno de|una de|los demas|las demas|el resto|"
        r"(?:has|ha) (?:dicho|mencionado)|dijiste|mencionaste|mencionad[oa]s?|tu respuesta|"
        r"la respuesta anterior|amb[oa]s|ningun[oa](?=\s*\W*$)|tambien|tampoco|ademas|ahi|alli|"
        r"aqui|asi|mismo|hasta ahora|en vez|otra vez|de nuevo|"
        r"(?!carlos|charlas?|perlas?|burlas?)\w+(?:arl|erl|irl)[oae]s?|"
        r"(?:dimel|muestramel|explicamel)[oa]s?)\b"
        r"|\b(?:mejor|peor|mayor|menor|mas \w+|menos \w+|antes|despues)\s*\W*$"
    ),
    asking=re.compile(
        r"\b(?:quien|quienes|que|cual|cuales|cuando|donde|como|cuant[oa]s?|es|son|esta|estan|hay|"
        r"fue|era|puedo|puede|puedes|podemos|tiene|tienen|existe|existen|lista|muestra|dame|dime|"
        r"explica|describe|compara|resume|busca|escribe|hola|gracias|adios|ayuda|buenos|buenas)\b"
    ),
)

_RULES: Mapping[str, _Rules] = {"en": _ENGLISH, "es": _SPANISH}
# What stands around a message and says nothing: behind it "and the second one?" begins.
_BEFORE = re.compile(
    r"^(?:(?:thanks|thx|please|(?:hello|hi|hey)(?: there)?|(?:muchas )?gracias|por favor|hola)\b"
    r"[\s,.;:!¡¿-]*|"
    r"(?:thank you|great|perfect|nice|cool|good|got it|i see|understood|genial|perfecto|muy bien|"
    r"entiendo|entendido)\s*[,.;:!-]+[\s¡¿]*)+"
)
_BEHIND = re.compile(
    r"(?:[\s,.;!?]*\b(?:please|thanks|thank you|thx|por favor|gracias)\b[\s.!?]*)+$"
)
# They ask about nothing that they name: "what changed?", "in which city?", "¿dónde vive?".
_BARE = re.compile(
    r"(?:(?:who|what|when|where|why|how) (?:(?:was|were|did|does) )?(?!is\b|are\b)\w+"
    r"(?: (?:next|then|now|later|afterwards|first))?|"
    r"(?:in|at|for|on|with|from|to|by|of|since) (?:which|what|how|whom)(?: \w+)?|"
    r"(?:donde|cuando|como|cuant[oa]s?|por que|para que|de que|desde cuando|con quien|que|quien) "
    r"(?!es\b|son\b)\w+(?: (?:luego|despues|entonces|ahora|antes|primero))?|"
    r"(?:en|por|a|de|con|para|desde) (?:que|cual|cuant[oa]s?|quien)(?: \w+)?)\s*\W*$"
)
# A longer one says itself what its pronouns stand for; it depends if its beginning says so.
LONG_CHARS = 400
# Spanish tells "él" and "está" by their accents, English a department by its capitals.
_STRESSED = re.compile(r"\bél\b", re.IGNORECASE)
_NO_PRONOUNS = re.compile(r"\bIT\b|\b[Ee]st[áé][ns]?\b")


@lru_cache(REMEMBERED_MESSAGES)
def depends_on_conversation(message: str, language: str) -> bool:
    """Whether the message may mean another thing after other turns. In a language without rules,
    only a few words alone do."""
    plain = " ".join(fold(_NO_PRONOUNS.sub("is", message[:LONG_CHARS])).split()).lstrip("¿¡\"'( ")
    plain = _BEHIND.sub("", _BEFORE.sub("", plain)).lstrip("¿¡ ") or plain
    rules = _RULES.get(language)
    words = len(_WORD.findall(plain))
    if rules is None:
        return words <= FRAGMENT_WORDS
    if rules.opening.match(plain):
        return True
    if len(message) > LONG_CHARS:
        return False
    if rules.within.search(plain) or (language == "es" and _STRESSED.search(message)):
        return True
    if _BARE.match(plain) and not read(message, language).names:
        return True
    return words <= FRAGMENT_WORDS and not rules.asking.search(plain)
