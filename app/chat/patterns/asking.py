"""What the words of a question do, by language, for `app.chat.guards`. A table a language.

What stands in no table is what the question is about. So a missing word costs a hit and never
makes a wrong one; a language without a table has questions that are the same word for word.
All words are lower case without accents; ñ stays.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _classes(**words: str) -> dict[str, str]:
    """Each word's class."""
    return {word: name for name, listed in words.items() for word in listed.split()}


@dataclass(frozen=True, slots=True)
class Asking:
    """One language. `fillers` come and go without a change of what is asked; the others map words
    to what they are compared as: `asks` what is wanted to know, `persons` who, `verbs` those
    that carry others, `sides` what binds the next word to the one before, `negations` too.
    `polite` is what may stand around a question, `how` what "how to" is also said as, `auxiliary`
    a "do" that is there for the grammar. `expansions` are contractions and their long forms."""

    fillers: frozenset[str]
    asks: Mapping[str, str]
    persons: Mapping[str, str]
    verbs: Mapping[str, str]
    sides: Mapping[str, str]
    negations: frozenset[str]
    numbers: Mapping[str, str]
    dates: frozenset[str]
    synonyms: Mapping[str, str]
    polite: re.Pattern[str]
    how: re.Pattern[str]
    auxiliary: re.Pattern[str]
    expansions: tuple[tuple[re.Pattern[str], str], ...] = ()


def _numbers(cardinals: str, ordinals: str, **others: str) -> dict[str, str]:
    table = {word: str(value) for value, word in enumerate(cardinals.split(), 2)}
    for value, words in enumerate(ordinals.split(), 1):
        table |= dict.fromkeys(words.split("|"), f"{value}.")
    return table | others


NOTHING = re.compile(r"(?!)()")
ANY = Asking(
    frozenset(), {}, {}, {}, {}, frozenset(), {}, frozenset(), {}, NOTHING, NOTHING, NOTHING
)

ENGLISH = Asking(
    fillers=_set("a an the of there please kindly really actually s"),
    asks=_classes(what="what which", who="who", whom="whom", whose="whose", when="when",
                  where="where", why="why", how="how"),
    persons=_classes(i="i me my mine myself", we="we us our ours", you="you your yours",
                     he="he him his", she="she her hers", it="it its", they="they them their"),
    verbs=_classes(be="is are am be been being", do="do does", have="has have having",
                   past="was were did had"),
    sides=_classes(to="to into onto", by="by", with_="with", for_="for", about="about regarding",
                   in_="in on at", and_="and versus vs", or_="or", than="than", as_="as", but="but",
                   from_="from", via="via", between="between", through="through", over="over",
                   under="under", above="above", below="below", if_="if whether",
                   against="against", per="per", within="within"),
    negations=_set("not no never none nobody nothing neither nor without except excluding unless "
                   "non cannot lacking lack lacks"),
    numbers=_numbers("two three four five six seven eight nine ten eleven twelve",
                     "first second third fourth fifth sixth seventh eighth ninth tenth",
                     hundred="100", thousand="1000", million="1000000", half="0.5", twice="2x",
                     both="2", last="last."),
    dates=_set("january february march april may june july august september october november "
               "december jan feb mar apr jun jul aug sep sept oct nov dec monday tuesday wednesday "
               "thursday friday saturday sunday today yesterday tomorrow tonight now currently "
               "next previous current past ago since until before after during year years month "
               "months week weeks day days quarter decade century summer autumn winter "
               "morning evening night weekend former future latest newest recent recently"),
    synonyms={"purchase": "buy", "telephone": "phone", "movie": "film", "photo": "picture",
              "photograph": "picture", "large": "big", "begin": "start", "describe": "explain",
              "e-mail": "email", "colour": "color", "centre": "center"},
    polite=re.compile(
        r"^(?:(?:hi|hello|hey)(?: there)?\b[,!. ¿¡]*|good (?:morning|afternoon|evening)[,!. ¿¡]*|"
        r"(?:please|kindly)\b[, ¿]*|thank you[,!. ¿¡]*|quick question[:,. ¿]*|"
        r"(?:(?:can|could|would|will) you )?(?:please )?(?:tell|show|give|remind) (?:me|us)\b"
        r"[:, ¿]*(?:if |whether )?|"
        r"(?:do you|does anyone|does anybody) know\b[, ¿]*(?:if |whether )?|"
        r"i(?: would|d|'d|’d)? (?:want|like|need) to know\b[, ¿]*(?:if |whether )?|"
        r"i(?: was| am|'m|’m) wondering\b[, ¿]*(?:if |whether )?|list\b |"
        r"(?:may|can|could) i (?:know|ask)\b[, ¿]*(?:if |whether )?|let (?:me|us) know\b[, ¿]*)+"
        r"|[,. !?]*(?:\b(?:please|thanks|thank you|thx)\b[,. !?]*)+$"
    ),
    how=re.compile(r"\bhow (?:(?:do|can|could) (?:i|we|you|one)|to)\b"),
    auxiliary=re.compile(
        r"(^|\b(?:what|which|where|when|why|how|who|whom|how many|how much|how often|"
        r"how long) )(?:do|does) "
    ),
    expansions=(
        (re.compile(r"\bcan['’]?t\b|\bcannot\b"), "can not"),
        (re.compile(r"\bwon['’]t\b"), "will not"),
        (re.compile(r"\b(\w+)n['’]t\b"), r"\1 not"),
        (re.compile(r"\b(do|does|did|is|are|was|were|has|have|would|should|could)nt\b"),
         r"\1 not"),
        (re.compile(r"\b(what|who|where|when|why|how|that|it|there|here|he|she)['’]s\b"),
         r"\1 is"),
        (re.compile(r"\b(what|where|how)s\b"), r"\1 is"),
        (re.compile(r"\b(what|who|where|how|they|we|you)['’]re\b"), r"\1 are"),
        (re.compile(r"\bi['’]m\b"), "i am"),
        (re.compile(r"\b(\w+)['’]ll\b"), r"\1 will"),
        (re.compile(r"['’]s?\b"), ""),
    ),
)  # fmt: skip

SPANISH = Asking(
    fillers=_set("el la los las lo un una unos unas de del se favor"),
    asks=_classes(que="que", cual="cual cuales", quien="quien quienes", cuando="cuando",
                  donde="donde adonde", cuanto="cuanto cuanta cuantos cuantas", como="como",
                  porque="porque"),
    persons=_classes(yo="yo mi mis me mio mia", nosotros="nos nosotros nuestro nuestra nuestros "
                     "nuestras", tu="tu tus te ti", su="su sus le les", ella="ella ellas",
                     ellos="ellos", usted="usted ustedes"),
    verbs=_classes(ser="es son", haber="ha han he", past="fue fueron era eran"),
    sides=_classes(a="a al", por="por", con="con", para="para", sobre="sobre", en="en", y="y e",
                   o="o u", desde="desde", entre="entre", pero="pero", segun="segun", bajo="bajo",
                   contra="contra", si="si"),
    negations=_set("no nunca jamas nadie ningun ninguna ninguno nada ni sin excepto salvo tampoco"),
    numbers=_numbers("dos tres cuatro cinco seis siete ocho nueve diez once doce",
                     "primero|primera|primer segundo|segunda tercero|tercera|tercer cuarto|cuarta "
                     "quinto|quinta sexto|sexta", cien="100", mil="1000", ambos="2", ambas="2",
                     millon="1000000", ultimo="last.", ultima="last.", ultimos="last.",
                     ultimas="last."),
    dates=_set("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
               "diciembre lunes martes miercoles jueves viernes sabado domingo hoy ayer manana "
               "mañana ahora actualmente pasado pasada proximo proxima proximos siguiente anterior "
               "actual hasta antes despues durante hace ano anos año años mes meses semana "
               "semanas dia dias trimestre siglo decada primavera verano otono otoño invierno "
               "reciente recientes futuro antiguo"),
    synonyms={"adquirir": "comprar", "foto": "fotografia", "comenzar": "empezar",
              "ordenador": "computadora", "celular": "movil", "describe": "explica"},
    polite=re.compile(
        r"^(?:hola\b[,!. ¿¡]*|buenos dias[,!. ¿¡]*|buenas(?: tardes| noches)?\b[,!. ¿¡]*|"
        r"por favor\b[, ¿]*|oye\b[,!. ¿¡]*|"
        r"(?:(?:me|nos) )?(?:puedes|podrias|puede|podria|podeis) (?:decir|indicar|mostrar)"
        r"(?:me|nos)?\b[, ¿]*(?:si )?|"
        r"(?:dime|dinos|digame|muestrame|muestra|dame|indicame)\b[:, ¿]*(?:si )?|"
        r"(?:quiero|quisiera|me gustaria|necesito) saber\b[, ¿]*(?:si )?|"
        r"(?:sabes|sabe|alguien sabe)\b[, ¿]*(?:si )?|lista\b )+"
        r"|[,. !?]*(?:\b(?:por favor|gracias|muchas gracias)\b[,. !?]*)+$"
    ),
    how=re.compile(r"\bcomo (?:puedo|podemos|podria|se puede|hago para|hay que)\b"),
    auxiliary=NOTHING,
    expansions=((re.compile(r"\bpor que\b"), "porque"),),
)  # fmt: skip

TABLES: Mapping[str, Asking] = {"en": ENGLISH, "es": SPANISH}
