"""What the extractive provider says in its own words, by language."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.providers.words import tokens

FALLBACK = "en"


@dataclass(frozen=True, slots=True)
class Phrases:
    """`small_talk`: a pattern over the folded words of a whole message, and its reply."""

    several: str
    nothing: str
    no_documents: str
    one_side: str
    named: str
    unnamed: str
    ask_more: str
    small_talk: tuple[tuple[re.Pattern[str], str], ...]
    identity: re.Pattern[str]


def _talk(*pairs: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern), reply) for pattern, reply in pairs)


PHRASES: Mapping[str, Phrases] = {
    "en": Phrases(
        several="This is what the documents say:",
        nothing="The documents do not answer this question.",
        no_documents="I found no documents about this, so I cannot answer it.",
        one_side="The documents say nothing about the rest of the comparison.",
        named="I am {name}. I answer questions by quoting these documents.",
        unnamed="I am an assistant that answers questions by quoting these documents.",
        ask_more="Ask me a question, and I will look for the answer in the documents.",
        small_talk=_talk(
            (r"(?:many )?(?:thanks|thank you|thx|ty|cheers)\b.*", "You're welcome!"),
            (
                r"(?:ok |okay )?(?:good ?bye|bye(?: bye)?|see you|see ya|farewell|good night)\b.*",
                "Goodbye!",
            ),
            (
                r"(?:(?:hi|hello|hey)(?: there)? )?how (?:are you|is it going|s it going)\b.*",
                "I'm well, thank you! What would you like to know about the documents?",
            ),
            (
                r"(?:hi+|hello+|hey+|howdy|greetings|good (?:morning|afternoon|evening|day))\b.*",
                "Hello! What would you like to know about the documents?",
            ),
            (
                r"(?:ok(?:ay)?|great|nice|cool|perfect|awesome|good|got it|yes|no|sure|alright)",
                "Good. Ask me anything else about the documents.",
            ),
        ),
        identity=re.compile(
            r"(?:.* )?(?:who are you|what are you|what(?: i)?s your name|your name|whats your name"
            r"|introduce yourself|what can you do)(?: please)?"
        ),
    ),
    "es": Phrases(
        several="Esto es lo que dicen los documentos:",
        nothing="Los documentos no responden a esta pregunta.",
        no_documents="No he encontrado documentos sobre esto, así que no puedo responder.",
        one_side="Los documentos no dicen nada sobre el resto de la comparación.",
        named="Soy {name}. Respondo a preguntas citando estos documentos.",
        unnamed="Soy un asistente que responde a preguntas citando estos documentos.",
        ask_more="Hazme una pregunta y buscaré la respuesta en los documentos.",
        small_talk=_talk(
            (r"(?:muchas |mil |muchisimas )?gracias\b.*", "¡De nada!"),
            (
                r"(?:adios|hasta (?:luego|pronto|manana|la vista)|chao|chau|nos vemos"
                r"|buenas noches adios)\b.*",
                "¡Hasta luego!",
            ),
            (
                r"(?:(?:hola|buenas) )?(?:que tal|como (?:estas|esta usted|te va|va todo))\b.*",
                "¡Muy bien, gracias! ¿Qué quieres saber de los documentos?",
            ),
            (
                r"(?:hola+|buenas|buenos dias|buenas (?:tardes|noches)|saludos|buen dia)\b.*",
                "¡Hola! ¿Qué quieres saber de los documentos?",
            ),
            (
                r"(?:vale|de acuerdo|perfecto|genial|muy bien|bien|entendido|si|claro|estupendo)",
                "Bien. Pregúntame lo que quieras sobre los documentos.",
            ),
        ),
        identity=re.compile(
            r"(?:.* )?(?:quien eres(?: tu)?|que eres|quien es usted|como te llamas"
            r"|cual es tu nombre|como se llama usted|tu nombre|presentate|que puedes hacer)"
        ),
    ),
}
# A greeting is short; a longer message that begins like one carries a question.
MAX_SMALL_TALK_WORDS = 7
# Only the start of the system prompt is the agent's own; passages come far behind it.
_NAME = re.compile(
    r"(?:(?i:you are|you're|your name is|i am|my name is|eres|te llamas|tu nombre es)\s+)"
    r"([A-ZÁÉÍÓÚÑ][\w'-]{1,30}(?: [A-ZÁÉÍÓÚÑ][\w'-]{1,30})?)"
)
_NAME_WITHIN_CHARS = 120


def phrases(language: str) -> Phrases:
    return PHRASES.get(language, PHRASES[FALLBACK])


def small_talk(message: str, language: str) -> str | None:
    """The fitting reply to a greeting, thanks, a goodbye and the like; None for anything else.

    A message whose words belong to another language's table is answered in that language.
    """
    words = tokens(message)
    if not words or len(words) > MAX_SMALL_TALK_WORDS:
        return None
    folded = " ".join(words)
    for table in (phrases(language), *PHRASES.values()):
        for pattern, reply in table.small_talk:
            if pattern.fullmatch(folded):
                return reply
    return None


def identity(message: str, language: str, system_prompt: str) -> str | None:
    """Who the agent is, where the message asks just that; its name is the system prompt's."""
    words = tokens(message)
    if len(words) > MAX_SMALL_TALK_WORDS:
        return None
    folded = " ".join(words)
    for table in (phrases(language), *PHRASES.values()):
        if table.identity.fullmatch(folded):
            name = _NAME.search(system_prompt[:_NAME_WITHIN_CHARS])
            return table.named.format(name=name[1]) if name else table.unnamed
    return None
