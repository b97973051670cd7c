"""Words as the extractive provider compares them: folded, without accents, lightly stemmed."""

import re
import unicodedata
from functools import lru_cache

_TOKEN = re.compile(r"[^\W_]+[+#]*")

# Words that say nothing about what a text is about, in English and Spanish; folded.
_STOPWORDS = """
a about above after again all also am an and any anything are as at be because been before being
below between both but by can compare compared comparing comparison could describe did difference
differences do does doing done down during each ever every everything exactly explain few find for
from further get give given gives had has have having he her here hers him his how i if in
information into is it its itself just know let like list many me mean means more most much must
my name named no nor not of off on once one ones only or other our out over own please provide
same say says she should show so some something such tell than that the their them then there
these they thing things this those through to too under until up us use used versus very vs want
was we were what whats when where which while who whom whose why will with would you your yours
al algo algun alguna algunas alguno algunos ante antes aquel aquella aquellas aquello aquellos
aqui asi aun aunque bajo bien cada casi como compara comparacion comparado comparame comparar con
conoce contra cosa cosas cual cuales cualquier cuando cuanta cuantas cuanto cuantos cuya cuyas
cuyo cuyos da dado dame de debe decir del desde di dice dicen diferencia diferencias dime donde
dos durante e el ella ellas ello ellos en entonces entre era eran es esa esas ese eso esos esta
estaba estan estar estas este esto estos existe existen explica frente fue fueron ha haber habia
hace hacer hacia han hasta hay he la las le les lista listado llama llaman lo los mas me mediante
mi mis mismo mostrar mucho muchos muestra muy nada ni ningun ninguna no nos nosotros o otra otras
otro otros para pero poder podria por porque puede pueden pues que quien quienes quiero saber se
sea segun ser si sido siendo sin sobre solo son su sus tal tambien tan tanto te tener tenia tiene
tienen toda todas todo todos tras tu tus u un una unas uno unos usa usan usted utilizan y ya yo
"""
STOPWORDS = frozenset(_STOPWORDS.split())

_SUFFIXES = (
    *("izaciones", "izacion", "aciones", "amientos", "imientos", "amiento", "imiento", "adoras"),
    *("adores", "acion", "ciones", "adora", "ization", "ations", "ation", "mente"),
    *("iendo", "ieron", "iones", "ables", "ibles", "ador", "ando", "aron", "aban", "cion"),
    *("able", "ible", "ados", "adas", "idos", "idas", "ings", "ments", "ment", "ions", "ness"),
    *(
        "ios",
        "ado",
        "ada",
        "ido",
        "ida",
        "aba",
        "ing",
        "ied",
        "ies",
        "ias",
        "ion",
        "ers",
        "ors",
        "ely",
    ),
    *(
        "io",
        "ed",
        "er",
        "or",
        "es",
        "os",
        "as",
        "ia",
        "ly",
        "ar",
        "ir",
        "al",
        "s",
        "a",
        "e",
        "o",
        "y",
    ),
)
_MIN_STEM = 4
# English verbs whose past has other letters than the verb itself.
_IRREGULAR = (
    "led:lead built:build wrote:write written:write ran:run sent:send kept:keep held:hold "
    "made:make began:begin begun:begin grew:grow grown:grow fell:fall rose:rise risen:rise "
    "took:take taken:take gave:give won:win sold:sell bought:buy paid:pay taught:teach "
    "thought:think left:leave lost:lose met:meet spoke:speak spoken:speak chose:choose "
    "chosen:choose drew:draw drawn:draw drove:drive driven:drive knew:know known:know saw:see "
    "seen:see told:tell went:go gone:go spent:spend came:come became:become brought:bring "
    "fought:fight caught:catch broke:break broken:break stole:steal stolen:steal wore:wear "
    "worn:wear"
)
_PRESENT = dict(pair.split(":") for pair in _IRREGULAR.split())
# Spelling that differs between English and Spanish in words that are otherwise the same, so that
# "tecnología" finds "technology" and "proyecto" finds "project".
_COGNATES = (("ph", "f"), ("th", "t"), ("ch", "c"), ("k", "c"), ("y", "i"), ("j", "i"))
_DOUBLED = re.compile(r"([a-z])\1")


def tokens(text: str) -> list[str]:
    """The text's words in order, folded and without accents."""
    folded = unicodedata.normalize("NFD", text.casefold())
    return _TOKEN.findall("".join(c for c in folded if not unicodedata.combining(c)))


def terms(text: str) -> list[str]:
    """The stems of the words that carry meaning, in order."""
    return [
        stem(word)
        for word in tokens(text)
        if word not in STOPWORDS and (len(word) > 1 or word.isdigit())
    ]


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The word without its longest known ending, of which at least four letters stay, spelt as
    its cognates are; of an irregular verb's past that of the verb."""
    if word[0].isdigit():
        return word
    word = _PRESENT.get(word, word)
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _MIN_STEM:
            word = word[: -len(suffix)]
            break
    for spelling, common in _COGNATES:
        word = word.replace(spelling, common)
    return _DOUBLED.sub(r"\1", word)
