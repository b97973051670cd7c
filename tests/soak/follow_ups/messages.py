"""Messages that mean something only after others: made of patterns, English and Spanish."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from string import Formatter

# What stands in braces is filled in with each of its words.
WORDS: Mapping[str, Sequence[str]] = {
    "nth": ("first", "second", "third", "fourth", "last", "other", "next"),
    "he": ("he", "she"),
    "him": ("him", "her", "them", "it"),
    "their": ("his", "her", "their", "its"),
    "it": ("it", "that", "this"),
    "name": ("Vue", "Ana", "Madrid", "Zephyr", "Postgres"),
    "year": ("2019", "2022", "2024", "last year", "March"),
    "thing": ("price", "name", "deadline", "budget", "address", "owner"),
    "verb": ("use", "cancel", "install", "pay for", "export"),
    "done": ("finished", "released", "approved", "delayed", "cancelled"),
    "adjective": ("cheaper", "better", "faster", "newer", "easier"),
    "wh": ("Why", "When", "Where", "How", "Who", "How much", "How many", "Since when"),
    "ord": ("primero", "segundo", "tercero", "último", "otro"),
    "pron": ("él", "ella", "ellos"),
    "su": ("su", "sus"),
    "eso": ("eso", "esto", "aquello"),
    "año": ("2019", "2022", "2024", "marzo"),
    "cosa": ("precio", "nombre", "plazo", "presupuesto"),
    "adjetivo": ("barato", "rápido", "nuevo", "fácil"),
    "hecho": ("terminó", "aprobó", "canceló", "escribió"),
    "qué": ("Por qué", "Cuándo", "Dónde", "Cómo", "Quién", "Cuánto", "Desde cuándo"),
}
ENGLISH = """
and the {nth} one?
What about the {nth} one?
the {nth} one, please
how old is {he}?
Where does {he} work?
Who told {him}?
What are {their} {thing}s?
What is {their} {thing}?
When was {it} {done}?
Who {done} {it}?
Tell me more about {him}
And in {year}?
What about {name}?
And {name}?
How do I {verb} it?
Can I {verb} them?
Is {it} {adjective}?
Which one is {adjective}?
Which of them are {adjective}?
Is {name} {adjective}?
{wh}?
{wh} else?
And {wh}?
Is {it} true?
Explain {it}
Summarize {it} in Spanish
How much does {it} cost in {year}?
But is the {thing} still the same?
So what is the {thing}?
You said it was {done}. Why?
Compare it with {name}
""".strip().splitlines()
SPANISH = """
¿y el {ord}?
¿Y en {año}?
¿Y {name}?
¿Y con {name}?
el {ord}, por favor
¿Qué edad tiene {pron}?
¿Dónde trabaja {pron}?
¿Cuál es {su} {cosa}?
¿Cuándo se {hecho} {eso}?
¿Quién lo {hecho}?
¿Es {eso} cierto?
Explica {eso}
¿Cuál es más {adjetivo}?
¿{qué}?
¿Y {qué}?
¿También en {name}?
¿Pero cuál es el {cosa}?
Entonces, ¿cuál es el {cosa}?
Cuéntame más de {pron}
""".strip().splitlines()


# Behind thanks, without a pronoun, or with nothing but a verb, whose subject Spanish leaves out.
FURTHER_ENGLISH = """
Thanks! And {name}?
Great, and in {year}?
Please, the {nth} one
What about {name}? Thanks
the fourth one, please
What is the {nth}?
Only the {name} ones
what happened next?
who was responsible?
Can you give an example?
give me three more
what changed?
is there more?
Give me the details
How many in total?
In which city?
For how long?
What did you say about {name}?
Are you sure?
That is wrong
What's the alternative?
Can you shorten the answer?
Same question for {year}
""".strip().splitlines()
FURTHER_SPANISH = """
Gracias. ¿Y {name}?
Genial, ¿y en {año}?
¿Quién es el {ord}?
¿Cuántos años tiene?
¿Dónde vive?
¿Cuándo nació?
¿Qué significa?
¿Para qué sirve?
¿Qué pasó luego?
¿Es mayor que {name}?
¿Hay otros?
¿Cuántos en total?
¿En qué ciudad?
dame un ejemplo
dame tres más
La misma pregunta para {año}
¿Cuál es la alternativa?
Me refiero al otro proyecto
""".strip().splitlines()


def messages(patterns: Sequence[str]) -> list[str]:
    """Every pattern with each of its words; each message once."""
    return list(dict.fromkeys(each for pattern in patterns for each in _filled(pattern)))


def _filled(pattern: str) -> Iterator[str]:
    names = [name for _, name, _, _ in Formatter().parse(pattern) if name]
    for words in product(*(WORDS[name] for name in names)):
        yield pattern.format(**dict(zip(names, words, strict=True)))
