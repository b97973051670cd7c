"""Which messages mean something only in their conversation, by cases."""

import pytest

from app.chat.context import depends_on_conversation

FOLLOW_UPS = {
    "en": """
        and the second one?
        And in 2024?
        what about Vue?
        How about next year?
        how old is he?
        Where does she work?
        What are their names?
        When was it released?
        Who wrote it?
        Tell me more
        Why?
        why not?
        How so?
        Who else?
        Which one is cheaper?
        Which is better?
        Is Vue faster?
        the first one
        The last one, please
        Can you elaborate?
        Could you explain further?
        Summarize
        in Spanish
        shorter
        What do you mean by that?
        Is that true?
        Explain this
        What are those?
        Are they free?
        Compare both
        Which of them uses React?
        You said Atlas was late. Why?
        Is there another?
        anything else?
        Do it again
        yes
        No, the other project
        What is the difference between the two and the former?
        More details
        React
        the red car
        What happened after that?
        How do I use it?
        Does this work offline?
        What is its price?
        the fourth one, please
        what happened next?
        who was responsible?
        Can you give an example?
        give me three more
        what changed?
        is there more?
        In which city?
        Only the React ones
        What did you say about the price?
        Are you sure?
        That is wrong
        What's the alternative?
        Can you shorten the answer?
        What is the second?
        Which was first?
        Thanks! And in 2023?
        Great, what about Vue?
        Why? Thanks
        Please, and the second one?
        So who is responsible?
        Is the latter open source?
        """,
    "es": """
        ¿y en 2024?
        ¿Y el segundo?
        ¿Qué edad tiene él?
        ¿Dónde trabaja ella?
        ¿Cuáles son sus nombres?
        ¿Por qué?
        ¿Quién más?
        Cuéntame más
        ¿Cuál es mejor?
        ¿Cuál es más barato?
        el primero
        la última, por favor
        ¿Puedes explicarlo mejor?
        Resume
        en inglés
        ¿Es eso cierto?
        Explica esto
        ¿Qué son esos?
        ¿Cómo puedo usarlo?
        ¿Quién lo escribió?
        Compara ambos
        ¿Y si cancelo?
        ¿Qué pasó después?
        Sí
        No, el otro proyecto
        ¿También en Madrid?
        Entonces, ¿quién es responsable?
        ¿Y con Vue?
        ¿Cuándo se lo dieron?
        ¿Pero cuánto cuesta?
        el cuarto, por favor
        La misma pregunta para 2024
        ¿Qué pasó luego?
        ¿Hay otros?
        dame un ejemplo
        dame tres más
        ¿En qué ciudad?
        ¿Cuál es la alternativa?
        ¿Quién es el segundo?
        ¿Cuántos años tiene?
        ¿Dónde vive?
        ¿Cuándo nació?
        ¿Qué significa?
        ¿Es mayor que Ana?
        Gracias. ¿Y en 2023?
        Genial, ¿y con Vue?
        ¿Y su precio?
        React
        """,
}
STANDALONE = {
    "en": """
        What React projects are there?
        Who finished the Atlas dashboard?
        How do I reset my password?
        Is React faster than Vue?
        Which is faster, React or Vue?
        Is there parking near the museum?
        Are there any discounts for students?
        List all projects with their technologies, please
        Which projects that are open use React?
        How long does it take to deliver?
        Is it possible to cancel an order?
        What does the IT department do?
        What happened this year?
        Hello there
        hello
        thanks
        Who is Ana Ruiz?
        What is the capital of Spain?
        Compare React and Vue
        Describe the architecture of Atlas
        Who led Atlas in 2024?
        Who won the second prize?
        What is the oldest project?
        What is React?
        Who was Ana Ruiz?
        When was Atlas released?
        How does billing work?
        Hello there, what is the refund policy?
        """,
    "es": """
        ¿Qué proyectos hay de React?
        ¿Quién dirige Atlas?
        ¿Dónde está la oficina?
        ¿Dónde están los servidores?
        ¿Cómo puedo cambiar mi contraseña?
        ¿React es más rápido que Vue?
        ¿Qué objetivos hay para este año?
        ¿Cuál es la capital de España?
        ¿Quién es Carlos Pérez?
        ¿Quién ganó el segundo premio?
        Compara React y Vue
        Hola
        Gracias
        ¿Cuánto cuesta el plan Pro?
        ¿Qué pasó antes del lanzamiento?
        ¿Qué es React?
        ¿Cómo funciona la facturación?
        ¿Por qué se retrasó el lanzamiento?
        ¿Quién es el director?
        """,
}
# "their" has its noun here, but a rule that knew would need a parser: a doubt counts as yes.
DOUBTED = {"List all projects with their technologies, please"}


def cases(table: dict[str, str]) -> list[tuple[str, str]]:
    return [
        (line.strip(), language)
        for language, lines in table.items()
        for line in lines.strip().splitlines()
    ]


@pytest.mark.parametrize(("message", "language"), cases(FOLLOW_UPS))
def test_a_follow_up_is_known(message: str, language: str) -> None:
    assert depends_on_conversation(message, language)


@pytest.mark.parametrize(("message", "language"), cases(STANDALONE))
def test_a_question_of_its_own_is_none(message: str, language: str) -> None:
    assert depends_on_conversation(message, language) is (message in DOUBTED)


@pytest.mark.parametrize(
    ("message", "language", "depends"),
    [
        ("Und der zweite?", "de", True),
        ("Welche Projekte mit React gibt es?", "de", False),
        ("The report says that it is late. " * 30, "en", False),
        ("And " + "what else is in the report that we have? " * 30, "en", True),
    ],
)
def test_other_languages_and_long_messages(message: str, language: str, depends: bool) -> None:
    assert depends_on_conversation(message, language) is depends
