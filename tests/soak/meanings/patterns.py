"""Questions made of patterns: what each asks is known, and in what any two of them differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

from app.chat.normalise import normalise_message

Filling: TypeAlias = tuple[tuple[str, str], ...]

PEOPLE = "Ana Ruiz|Ana Ramos|Anna Ruiz|Juan Ruiz|Bo Lindt|Bo Lind"
CITIES = "Madrid|Malaga|Paris|Rome|Austin|Boston"
TOOLS = "React|Vue|Postgres|Redis|Java|JavaScript"
PROJECTS = "Atlas|Zephyr|Atlas 2|Borea"
YEARS = "2019|2021|2022|2023|2024"


@dataclass(frozen=True, slots=True)
class Pattern:
    """`wordings` ask the same; `slots` are filled in with one of each list, and in what two
    questions differ when that is another is the slot's name up to a digit. `swapped` may be
    exchanged for each other, which asks another question."""

    language: str
    wordings: Sequence[str]
    slots: Mapping[str, Sequence[str]]
    swapped: tuple[str, str] | None = None

    def fillings(self) -> Iterator[Filling]:
        for values in product(*self.slots.values()):
            filling = dict(zip(self.slots, values, strict=True))
            if self.swapped is None or filling[self.swapped[0]] != filling[self.swapped[1]]:
                yield tuple(filling.items())


@dataclass(frozen=True, slots=True)
class Question:
    """A text and what it asks: the same of two questions that one answer serves."""

    text: str
    pattern: Pattern
    filling: Filling

    @property
    def meaning(self) -> tuple[str, Filling]:
        return self.pattern.wordings[0], self.filling


def ask(pattern: Pattern, filling: Filling, wording: int = 0) -> Question:
    text = pattern.wordings[wording].format(**dict(filling))
    first = next(place for place, letter in enumerate(text) if letter.isalpha())
    capital = text[:first] + text[first].upper() + text[first + 1 :]
    return Question(normalise_message(capital), pattern, filling)


def others(pattern: Pattern, filling: Filling) -> Iterator[tuple[str, Filling]]:
    """Everything that differs in one thing alone, with the name of that."""
    values = dict(filling)
    for slot, listed in pattern.slots.items():
        for value in listed:
            if value != values[slot]:
                yield slot.rstrip("0123456789"), tuple({**values, slot: value}.items())
    if pattern.swapped is not None:
        one, other = pattern.swapped
        exchanged = {**values, one: values[other], other: values[one]}
        yield "direction", tuple(exchanged.items())


def _patterns(language: str, polite: Sequence[str], lines: str) -> list[Pattern]:
    """A line is wordings, then slots, each behind a "#"; `polite` are put around the first."""
    made = []
    for line in lines.strip().splitlines():
        wording, *rest = (each.strip() for each in line.split("#"))
        named = dict(each.split("=", 1) for each in rest if "=" in each)
        swapped = next((each.split("<>") for each in rest if "<>" in each), None)
        plain = wording.split(" / ")
        wordings = [*plain, *(each.replace("{}", plain[0].strip("¿?")) for each in polite)]
        slots = {name: values.split("|") for name, values in named.items()}
        pair = (swapped[0], swapped[1]) if swapped else None
        made.append(Pattern(language, wordings, slots, pair))
    return made


ENGLISH = _patterns(
    "en",
    ["please, {}?", "hello, {}? thanks", "{}"],
    f"""
    what were the {{content}} in {{year}}? / in {{year}}, what were the {{content}}? #content=sales|costs|results #year={YEARS}
    who approved the budget for {{year}}? / can you tell me who approved the budget for {{year}}? #year={YEARS}
    who {{content}} the {{name}} dashboard? #content=finished|started|tested #name={PROJECTS}
    where does {{name}} work? / do you know where {{name}} works? #name={PEOPLE}
    which projects {{negation}} {{name}}? #negation=use|do not use #name={TOOLS}
    which orders {{negation}} be cancelled in {{date}}? #negation=can|cannot #date=March|May|June
    is {{name1}} faster than {{name2}}? #name1={TOOLS} #name2={TOOLS} #name1<>name2
    does {{name1}} report to {{name2}}? #name1={PEOPLE} #name2={PEOPLE} #name1<>name2
    flights from {{name1}} to {{name2}} on {{date}} #name1={CITIES} #name2={CITIES} #date=Monday|Tuesday #name1<>name2
    which plans cost {{comparison}} than {{number}} {{unit}}? #comparison=more|less #number=5|10|50|500 #unit=euros|dollars|pounds
    which boxes weigh {{comparison}} than {{number}} {{unit}}? #comparison=more|less #number=2|12|20 #unit=kg|grams|tons
    who earns {{comparison}} than {{number}} {{unit}}? #comparison=more|less #number=10|100 #unit=€|$|%
    what happened on {{number}} {{date}} {{year}}? / on {{number}} {{date}} {{year}}, what happened? #number=3|13|30 #date=March|May #year=2023|2024
    who won the {{number}} prize in {{year}}? #number=first|second|third|last #year=2022|2023|2024
    what is new in version {{number}}? / what's new in version {{number}}? #number=2.1|2.2|1.2|21|12.1
    what does error {{number}} mean? #number=401|403|404|500
    {{asked}} is the {{content}} of {{name}}? #asked=who|where #content=owner|manager|head #name={PROJECTS}
    who {{tense}} the head of {{content}}? #tense=is|was #content=engineering|marketing|sales
    how do I {{content}} notifications in {{name}}? / how can I {{content}} notifications in {{name}}? #content=enable|disable|mute #name={PROJECTS}
    what is the {{content}} age for the {{name}} plan? #content=minimum|maximum #name=Pro|Basic|Free
    what is the price of the {{name}} plan {{date}} year? / what's the price of the {{name}} plan {{date}} year? #name=Pro|Basic #date=this|next|last
    can I pay {{negation}} a card in {{name}}? #negation=with|without #name={CITIES}
    what happened {{date}} the launch of {{name}}? #date=before|after|during #name={PROJECTS}
    does the shop in {{name}} open at {{number}} {{unit}}? #name={CITIES} #number=8|9|10 #unit=am|pm
    how many {{content}} does {{name}} have? #content=users|employees|projects #name={PROJECTS}
    which projects use {{name1}} but not {{name2}}? #name1={TOOLS} #name2={TOOLS} #name1<>name2
    who worked here from {{year1}} to {{year2}}? #year1={YEARS} #year2={YEARS} #year1<>year2
    is the limit {{comparison}} {{number}} {{unit}}? #comparison=at least|at most|exactly #number=3|30|300 #unit=days|weeks|users
    what happens at {{number}} °{{unit}}? #number=5|-5|50 #unit=C|F
    how often is {{name}} checked per {{date}}? #name={PROJECTS} #date=day|week|month
    what changed in the {{number}} quarter of {{year}}? #number=first|second|third|fourth #year=2022|2023
    are {{quantity}} rooms in {{name}} free on {{date}}? #quantity=all|some|most #name={CITIES} #date=Friday|Sunday
    what did {{name1}} say about {{name2}}? #name1={PEOPLE} #name2={PEOPLE} #name1<>name2
    what is {{number1}} percent of {{number2}}? #number1=5|15|50 #number2=5|15|50 #number1<>number2
    who is the {{content}} of {{name}}? #content=manager|assistant|lawyer #name={PEOPLE}
    """,  # noqa: E501
)
SPANISH = _patterns(
    "es",
    ["por favor, ¿{}?", "hola, ¿{}? gracias", "{}"],
    f"""
    ¿cuáles fueron {{content}} en {{year}}? / en {{year}}, ¿cuáles fueron {{content}}? #content=las ventas|los gastos|los resultados #year={YEARS}
    ¿quién aprobó el presupuesto de {{year}}? / ¿puedes decirme quién aprobó el presupuesto de {{year}}? #year={YEARS}
    ¿quién {{content}} el panel {{name}}? #content=terminó|empezó|probó #name={PROJECTS}
    ¿dónde trabaja {{name}}? / ¿sabes dónde trabaja {{name}}? #name={PEOPLE}
    ¿qué proyectos {{negation}} {{name}}? #negation=usan|no usan #name={TOOLS}
    ¿{{name1}} es más rápido que {{name2}}? #name1={TOOLS} #name2={TOOLS} #name1<>name2
    ¿{{name1}} depende de {{name2}}? #name1={PEOPLE} #name2={PEOPLE} #name1<>name2
    vuelos de {{name1}} a {{name2}} el {{date}} #name1={CITIES} #name2={CITIES} #date=lunes|martes #name1<>name2
    ¿qué planes cuestan {{comparison}} de {{number}} {{unit}}? #comparison=más|menos #number=5|10|50|500 #unit=euros|dólares|libras
    ¿qué cajas pesan {{comparison}} de {{number}} {{unit}}? #comparison=más|menos #number=2|12|20 #unit=kg|gramos
    ¿quién gana {{comparison}} de {{number}} {{unit}}? #comparison=más|menos #number=10|100 #unit=€|$
    ¿qué pasó el {{number}} de {{date}} de {{year}}? / el {{number}} de {{date}} de {{year}}, ¿qué pasó? #number=3|13|30 #date=marzo|mayo #year=2023|2024
    ¿quién ganó el {{number}} premio en {{year}}? #number=primer|segundo|tercer|último #year=2022|2023|2024
    ¿qué novedades hay en la versión {{number}}? #number=2.1|2.2|1.2|21|12.1
    ¿qué significa el error {{number}}? #number=401|403|404|500
    ¿quién {{tense}} el director de {{content}}? #tense=es|fue #content=ventas|compras|sistemas
    ¿cómo puedo {{content}} los avisos en {{name}}? / ¿cómo {{content}} los avisos en {{name}}? #content=activar|desactivar|silenciar #name={PROJECTS}
    ¿cuál es la edad {{content}} del plan {{name}}? #content=mínima|máxima #name=Pro|Básico
    ¿cuánto cuesta el plan {{name}} el {{date}} año? #name=Pro|Básico #date=próximo|pasado
    ¿puedo pagar {{negation}} tarjeta en {{name}}? #negation=con|sin #name={CITIES}
    ¿qué pasó {{date}} del lanzamiento de {{name}}? #date=antes|después #name={PROJECTS}
    ¿cuántos {{content}} tiene {{name}}? #content=usuarios|empleados|proyectos #name={PROJECTS}
    ¿qué proyectos usan {{name1}} pero no {{name2}}? #name1={TOOLS} #name2={TOOLS} #name1<>name2
    ¿quién trabajó aquí desde {{year1}} hasta {{year2}}? #year1={YEARS} #year2={YEARS} #year1<>year2
    ¿el límite es {{comparison}} {{number}} {{unit}}? #comparison=al menos|como máximo|exactamente #number=3|30|300 #unit=días|semanas|usuarios
    ¿qué ocurre a {{number}} °{{unit}}? #number=5|-5|50 #unit=C|F
    ¿qué cambió en el {{number}} trimestre de {{year}}? #number=primer|segundo|tercer|cuarto #year=2022|2023
    ¿están libres {{quantity}} las salas de {{name}} el {{date}}? #quantity=todas|casi todas #name={CITIES} #date=viernes|domingo
    ¿qué dijo {{name1}} sobre {{name2}}? #name1={PEOPLE} #name2={PEOPLE} #name1<>name2
    """,  # noqa: E501
)
PATTERNS = [*ENGLISH, *SPANISH]
