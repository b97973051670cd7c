"""Answers by quotation: the right sentence, an honest no, a fitting word, and nothing invented."""

import re
import time
from collections.abc import Sequence

import pytest

from app.chat.model import ChatMessage, Passage, QueryComplexity
from app.chat.ports import Finish, Prompt
from app.providers.extractive import ExtractiveProvider, answer
from app.providers.phrases import PHRASES
from app.providers.ranking import MARKER, rank
from app.providers.sides import asks_for_several, sides_of
from app.providers.words import stem, terms

TEXTS = [
    (
        "Heron Booking",
        "en",
        "# Heron Booking\n\nHeron is a React project: the booking site of a small museum. Marta "
        "Quiles leads Heron, and three people work on it. It went live in March 2022.\n\n"
        "Technologies: React 18, TypeScript and Vite.\n\n## Results\n\nQueues at the door fell "
        "from 40 minutes to 6 minutes. Heron sells 1,200 tickets on a busy day.",
    ),
    (
        "Otter Payments",
        "en",
        "# Otter Payments\n\nOtter is a Python project: a service that books payments for a "
        "chain of bakeries. Dr. Paul Renner leads Otter. It was built in 2020.\n\n"
        "Technologies: Python 3.12, FastAPI and PostgreSQL.\n\n## Problems\n\nThe first version "
        "booked every refund twice. The team added a unique key, and the mistake was gone.",
    ),
    (
        "Garza, riego de huertos",
        "es",
        "# Garza\n\nGarza es un proyecto de Python: calcula el agua que necesita cada huerto. "
        "Elena Prado dirige Garza desde 2021. El sistema combina 90 sensores de humedad.\n\n"
        "Tecnologías: Python 3.11, pandas y LoRaWAN.\n\n## Resultados\n\nLos huertos gastaron un "
        "18 por ciento menos de agua en 2023.",
    ),
    (
        "Holidays",
        "en",
        "Everyone has 28 days of holiday a year. A request is answered within two working days. "
        "Unused days expire at the end of March.",
    ),
]


def passages(texts: Sequence[tuple[str, str, str]] = TEXTS) -> list[Passage]:
    return [
        Passage(n, n, n, title, None, text, 0, len(text), 1 / n, language=language)
        for n, (title, language, text) in enumerate(texts, 1)
    ]


def asked(
    question: str,
    language: str = "en",
    complexity: QueryComplexity = QueryComplexity.SIMPLE,
    found: Sequence[Passage] | None = None,
    system: str = "You help.",
    max_tokens: int = 2000,
) -> Prompt:
    return Prompt(
        messages=[ChatMessage("system", system), ChatMessage("user", question)],
        question=question,
        passages=passages() if found is None else found,
        language=language,
        complexity=complexity,
        max_tokens=max_tokens,
        temperature=0.0,
    )


@pytest.mark.parametrize(
    ("question", "language", "quote"),
    [
        ("Who leads Heron?", "en", "Marta Quiles leads Heron, and three people work on it. [1]"),
        ("When was Otter built?", "en", "It was built in 2020. [2]"),
        ("How many holidays do we have a year?", "en", "28 days of holiday a year. [4]"),
        ("what went wrong with refunds in otter", "en", "booked every refund twice. [2]"),
        ("¿Quién dirige Garza?", "es", "Elena Prado dirige Garza desde 2021. [3]"),
        ("¿cuántos sensores combina garza?", "es", "combina 90 sensores de humedad. [3]"),
        ("¿Qué tecnologías usa Otter?", "es", "Python 3.12, FastAPI and PostgreSQL. [2]"),
        ("What technologies does Heron Booking use?", "en", "React 18, TypeScript and Vite. [1]"),
        ("Which payments service is written in FastAPI?", "en", "Technologies: Python 3.12, Fast"),
        ("How soon is a holiday request answered?", "en", "within two working days. [4]"),
        ("Who is the lead of Heron?", "en", "Marta Quiles leads Heron"),
        ("¿Quién dirige Heron?", "es", "Marta Quiles leads Heron"),
    ],
)
def test_the_answering_sentence_is_quoted(question: str, language: str, quote: str) -> None:
    assert quote in answer(asked(question, language))


@pytest.mark.parametrize("complexity", list(QueryComplexity))
@pytest.mark.parametrize("question", ["Who leads Heron?", "List all projects", "Otter vs Garza"])
def test_every_quotation_is_verbatim(complexity: QueryComplexity, question: str) -> None:
    text = answer(asked(question, complexity=complexity))
    texts = {each.number: each.text for each in passages()}
    body = text.partition("\n\n")[2] or text
    spans = re.findall(
        r"(?:- \*\*.*?\*\*: |^| )((?:(?! \[\d\]).)+) \[(\d)\]", body, re.DOTALL | re.M
    )
    assert spans
    for quote, number in spans:
        assert quote.strip() in texts[int(number)]


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("What is the capital of Mongolia?", "en"),
        ("How do I bake sourdough bread?", "en"),
        ("Who won the football world cup?", "en"),
        ("Which planet has the most moons?", "en"),
        ("¿Cuál es la capital de Mongolia?", "es"),
        ("¿Quién ganó la liga de fútbol?", "es"),
        ("¿Cómo se cocina una paella valenciana?", "es"),
        ("qwertz asdf", "en"),
    ],
)
@pytest.mark.parametrize("complexity", [QueryComplexity.SIMPLE, QueryComplexity.COMPREHENSIVE])
def test_what_the_documents_do_not_answer_is_declined(
    question: str, language: str, complexity: QueryComplexity
) -> None:
    assert answer(asked(question, language, complexity)) == PHRASES[language].nothing


def test_a_low_cosine_declines_and_a_high_one_does_not() -> None:
    [passage] = passages()[:1]
    for similarity, answers in ((0.05, False), (0.8, True)):
        near = Passage(1, 1, 1, "T", None, passage.text, 0, 9, 1.0, similarity=similarity)
        assert rank("Where can visitors reserve entry?", "en", [near]).answers is answers


def test_without_passages_it_says_so() -> None:
    assert answer(asked("What is Heron?", found=[])) == PHRASES["en"].no_documents
    assert answer(asked("¿Qué es Garza?", "es", found=[])) == PHRASES["es"].no_documents
    assert answer(asked("Hva er Heron?", "no", found=[])) == PHRASES["en"].no_documents


@pytest.mark.parametrize(
    ("message", "language", "reply"),
    [
        ("Hello", "en", "Hello!"),
        ("hi there!", "en", "Hello!"),
        ("Good morning", "en", "Hello!"),
        ("Hey, how are you?", "en", "I'm well"),
        ("Thanks!", "en", "You're welcome!"),
        ("thank you so much", "en", "You're welcome!"),
        ("Bye", "en", "Goodbye!"),
        ("ok", "en", "Good."),
        ("Hola", "es", "¡Hola!"),
        ("¡Buenos días!", "es", "¡Hola!"),
        ("¿Qué tal?", "es", "¡Muy bien"),
        ("Muchas gracias", "es", "¡De nada!"),
        ("adiós", "es", "¡Hasta luego!"),
        ("gracias", "en", "¡De nada!"),
        ("hello", "es", "Hello!"),
        ("hmm", "en", "Ask me a question"),
        ("???", "es", "Hazme una pregunta"),
    ],
)
def test_small_talk(message: str, language: str, reply: str) -> None:
    text = answer(asked(message, language, QueryComplexity.TRIVIAL, found=[]))
    assert text.startswith(reply)


def test_a_greeting_with_a_question_is_a_question() -> None:
    assert "Marta Quiles" in answer(asked("Hello, who leads Heron?"))


@pytest.mark.parametrize(
    ("message", "language", "system", "reply"),
    [
        ("What's your name?", "en", "You are Ada, a guide.", "I am Ada. "),
        ("who are you", "en", "Your name is Ada Stone.", "I am Ada Stone. "),
        ("¿Cómo te llamas?", "es", "Eres Luz, la guía.", "Soy Luz. "),
        ("¿Quién eres?", "es", "You help.", "Soy un asistente"),
        ("What is your name?", "en", "You are a helpful assistant.", "I am an assistant"),
        ("Who are you?", "en", "x" * 200 + "You are Mallory", "I am an assistant"),
    ],
)
def test_who_it_is(message: str, language: str, system: str, reply: str) -> None:
    assert answer(asked(message, language, system=system)).startswith(reply)


def test_a_list_has_a_bullet_for_each_matching_document() -> None:
    text = answer(
        asked("List all projects with their technologies", complexity=QueryComplexity.COMPREHENSIVE)
    )
    intro, _, bullets = text.partition("\n\n")
    assert intro == PHRASES["en"].several
    lines = bullets.split("\n")
    assert [line.partition(":")[0] for line in sorted(lines)] == [
        "- **Garza, riego de huertos**",
        "- **Heron Booking**",
        "- **Otter Payments**",
    ]
    assert any("Technologies: React 18, TypeScript and Vite. [1]" in line for line in lines)


def test_a_label_alone_does_not_answer_what_its_title_is_about() -> None:
    assert "Technologies" not in answer(asked("Who leads Heron Booking?"))


def test_a_sentence_about_another_name_does_not_come_first() -> None:
    assert answer(asked("Who leads Garza?")).rpartition(" [")[2] == "3]"
    assert "Heron" not in answer(asked("Who leads Garza?"))


@pytest.mark.parametrize(
    ("question", "language", "titles"),
    [
        ("What Python projects are there?", "en", ["Garza, riego de huertos", "Otter Payments"]),
        ("¿Qué proyectos de Python hay?", "es", ["Garza, riego de huertos", "Otter Payments"]),
        ("Which projects use Python?", "en", ["Garza, riego de huertos", "Otter Payments"]),
    ],
)
@pytest.mark.parametrize("complexity", [QueryComplexity.SIMPLE, QueryComplexity.MEDIUM])
def test_several_asked_for_is_one_sentence_of_each_document(
    question: str, language: str, titles: list[str], complexity: QueryComplexity
) -> None:
    intro, _, bullets = answer(asked(question, language, complexity)).partition("\n\n")
    assert intro == PHRASES[language].several
    lines = sorted(bullets.split("\n"))
    assert [line.partition(":")[0] for line in lines] == [f"- **{title}**" for title in titles]
    assert all(len(MARKER.findall(line)) == 1 for line in lines)


def test_several_that_one_document_has_are_sentences() -> None:
    text = answer(asked("What technologies does Garza use?", complexity=QueryComplexity.MEDIUM))
    assert text.startswith("Tecnologías: Python 3.11, pandas y LoRaWAN. [3]")


def test_a_comparison_of_kinds_shows_the_documents_of_each() -> None:
    texts = [(f"P{n}", "en", f"P{n} is a Python project of Ann. It has rules.") for n in range(3)]
    texts += [(f"R{n}", "en", f"R{n} is a React project for Bea. It is fast.") for n in range(3)]
    texts += [("Team", "en", "Our groups work with React and with Python and PostgreSQL.")]
    text = answer(
        asked(
            "Compare the Python and React projects",
            complexity=QueryComplexity.COMPLEX,
            found=passages(texts),
        )
    )
    bullets = text.partition("\n\n")[2].split("\n")
    assert [bullet[4:6] for bullet in bullets] == ["P0", "P1", "P2", "R0", "R1", "R2"]
    assert all(" project " in bullet for bullet in bullets)


@pytest.mark.parametrize(
    ("question", "several"),
    [
        ("What React projects are there?", True),
        ("which of our projects use Django", True),
        ("Can you tell me which machine learning projects exist?", True),
        ("What are the results?", True),
        ("In which countries is it used?", True),
        ("¿Qué proyectos usan Python?", True),
        ("cuáles son los proyectos de React", True),
        ("¿En qué lenguas está?", True),
        ("List the projects", True),
        ("Show me our Python projects", True),
        ("What is React?", False),
        ("What does it do?", False),
        ("What status has Atlas?", False),
        ("What is Kubernetes?", False),
        ("Who leads the projects?", False),
        ("The warehouse from which Atlas reads its figures", False),
        ("¿Qué es esto?", False),
        ("¿Quién dirige los proyectos que tienes?", False),
    ],
)
def test_asking_for_several(question: str, several: bool) -> None:
    assert asks_for_several(question) is several


@pytest.mark.parametrize("part", [" ", "!", "what of ", "que de ", "compare ", "and ", "A ", "s "])
def test_the_longest_question_costs_no_more_than_its_length(part: str) -> None:
    question = (part * 8000)[:8000]
    start = time.process_time()
    for complexity in QueryComplexity:
        answer(asked(question, complexity=complexity))
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Compare Heron versus Otter", "en"),
        ("What is the difference between Heron and Otter?", "en"),
        ("¿Qué diferencia hay entre Heron y Otter?", "es"),
    ],
)
def test_a_comparison_shows_both_sides(question: str, language: str) -> None:
    text = answer(asked(question, language, QueryComplexity.COMPLEX))
    assert "- **Heron Booking**: Heron is a React project" in text
    assert "- **Otter Payments**: Otter is a Python project" in text
    assert "Garza" not in text


def test_a_comparison_says_which_half_is_missing() -> None:
    text = answer(asked("Compare Heron and Zebra", complexity=QueryComplexity.COMPLEX))
    assert text == PHRASES["en"].nothing or text.endswith(PHRASES["en"].one_side)


@pytest.mark.parametrize(
    ("question", "sides"),
    [
        ("Compare tea versus coffee", [["tea"], ["coffee"]]),
        ("tea vs. coffee", [["tea"], ["coffee"]]),
        ("What are the differences between tea and coffee?", [["tea"], ["coffee"]]),
        ("Compare the price of tea with the price of coffee", [["tea"], ["coffee"]]),
        ("Compara el vino con el café", [["vino"], ["cafe"]]),
        ("diferencia entre vino y café", [["vino"], ["cafe"]]),
        ("Compare the green and black teas", [["green"], ["black"]]),
        ("Compara los vinos de Rioja y Toro", [["rioja"], ["toro"]]),
        ("Compare Heron and Otter Payments", [["heron"], ["otter", "payments"]]),
        ("tea, coffee", []),
        ("What is tea?", []),
        ("Compare tea", []),
    ],
)
def test_sides(question: str, sides: list[list[str]]) -> None:
    assert sides_of(question) == [frozenset(stem(word) for word in side) for side in sides]


def test_text_that_looks_like_a_citation_is_not_quoted() -> None:
    forged = "Heron is led by Mallory [2]. Heron is led by Eve [ 7 ]. Heron is led by Ann."
    text = answer(asked("Who is Heron led by?", found=passages([("Heron", "en", forged)])))
    assert text == "Heron is led by Ann. [1]"
    assert MARKER.search("see [^1]")
    only = passages([("Heron", "en", "Heron is led by Mallory [2].")])
    assert answer(asked("Who is Heron led by?", found=only)) == PHRASES["en"].nothing


def test_a_title_cannot_forge_markup() -> None:
    found = passages([("A [7] **b** <i>\nc", "en", "Heron is a bird.")])
    text = answer(
        asked("List all birds Heron", complexity=QueryComplexity.COMPREHENSIVE, found=found)
    )
    assert "- **A 7 b i c**: Heron is a bird. [1]" in text


def test_a_repeated_sentence_is_quoted_once() -> None:
    texts = [(f"Copy {n}", "en", "Heron opens at nine o'clock every day.") for n in range(4)]
    question = asked(
        "When does Heron open?", complexity=QueryComplexity.MEDIUM, found=passages(texts)
    )
    assert answer(question) == "Heron opens at nine o'clock every day. [1]"


def test_the_budget_of_tokens_is_kept() -> None:
    question = "List all projects with their technologies"
    long = asked(question, complexity=QueryComplexity.COMPREHENSIVE)
    short = asked(question, complexity=QueryComplexity.COMPREHENSIVE, max_tokens=30)
    assert len(answer(short)) < len(answer(long)) / 2
    assert "[" in answer(short)


async def test_it_streams_a_few_words_at_a_time() -> None:
    prompt = asked("Who leads Heron?")
    items = [item async for item in ExtractiveProvider().stream(prompt)]
    finish = items.pop()
    assert isinstance(finish, Finish)
    assert finish.reason == "stop"
    assert finish.usage is not None
    assert finish.usage.estimated
    deltas = [delta for item in items if isinstance(item, list) for delta in item]
    assert len(deltas) == len(items) > 1
    assert "".join(deltas) == answer(prompt)
    assert all(len(delta.split()) <= 4 for delta in deltas)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("technologies", "tecnología"),
        ("projects", "proyecto"),
        ("cities", "city"),
        ("leading", "leads"),
        ("riegos", "riego"),
        ("calculó", "calcula"),
        ("commission", "comisión"),
        ("C++", "c++"),
        ("led", "leads"),
        ("written", "writing"),
        ("dirigió", "dirige"),
        ("servicios", "service"),
    ],
)
def test_words_of_one_kind_have_one_stem(left: str, right: str) -> None:
    assert terms(left) == terms(right)


def test_a_passage_costs_well_under_a_millisecond() -> None:
    many = passages([(f"T{n}", "en", TEXTS[n % 4][2] * 2) for n in range(15)])
    prompt = asked("List all projects", complexity=QueryComplexity.COMPREHENSIVE, found=many)
    answer(prompt)
    took = []
    for _ in range(5):
        start = time.process_time()
        answer(prompt)
        took.append(time.process_time() - start)
    assert min(took) / len(many) < 0.001
