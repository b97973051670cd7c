import json
import subprocess
import sys

import pytest

from app.chat.language import detect_language, normalise_language, recognise

ENGLISH = """
What is React?
What's your name?
whats react
waht is react
WHAT REACT PROJECTS ARE THERE
Who are you?
who wrote atlas
Hello
hi there
thanks!
Good morning
Compare React versus Vue
List all projects with their technologies
Show me the Python projects
How does it work?
how do i install it
Why?
Which one is faster?
When was it founded?
Is there a demo?
Does Atlas support OAuth?
explain hooks
Give me three examples
tell me about the El Niño project
Who is José García?
What does "¿qué?" mean?
What does gracias mean in English?
What is the Los Angeles office address?
Where is the La Paz team?
What does print(x) do?
Why does `for i in range(10)` fail?
What does the function load_model() return?
Is 3.5 more than 2?
React or Vue, which is better?
difference between REST and GraphQL
pros and cons of microservices
yes please
ok thank you
And the second one?
the best database for vectors
how many people work on Beacon
can you summarise this
I need the deployment steps
Were any of them written by María Núñez?
what is a piñata
Do they use Kafka?
and in 2023?
Why is the café website so slow?
""".strip().splitlines()

SPANISH = """
¿Qué es React?
que es react
Que es React?
QUÉ PROYECTOS DE REACT HAY
¿Cómo te llamas?
como te llamas
¿Quién es Ana?
quien escribio atlas
Hola
hola!
buenos días
gracias
muchas gracias
Compara React y Vue
comparar react vs vue
diferencia entre REST y GraphQL
Diferencias entre Python y Java
Lista todos los proyectos con sus tecnologías
lista los proyectos
Muéstrame los proyectos de Python
¿Cómo funciona?
como lo instalo
¿Por qué?
¿Cuál es más rápido?
cual es mejor
cuales son los mejores proyectos
¿Cuándo se fundó?
¿Hay una demo?
hay demo?
¿Atlas soporta OAuth?
explica los hooks
Dame tres ejemplos
cuéntame algo del proyecto The Beacon
¿Quién es John Smith?
¿Qué significa "the"?
¿Qué hace print(x)?
¿Por qué falla `for i in range(10)`?
Qué devuelve la función load_model()
ventajas y desventajas de los microservicios
sí, por favor
¿Y el segundo?
la mejor base de datos para vectores
cuánta gente trabaja en Beacon
puedes resumir esto
necesito los pasos de despliegue
¿Usan Kafka?
y en 2023?
Adiós
q proyectos ay de react
xq falla el login
k es un ñandú
Resume la arquitectura
implementación de microservicios
despliegue en produccion
Cuanto cuesta?
¡Excelente!
""".strip().splitlines()

OTHERS = [
    ("fr", "Quel est le meilleur projet de cette équipe ?"),
    ("fr", "Comment fonctionne le moteur de recherche ?"),
    ("pt", "Quais são os projetos em React?"),
    ("pt", "Como funciona o sistema de cobrança da empresa?"),
    ("de", "Welche Projekte verwenden React und TypeScript?"),
    ("de", "Was ist der Unterschied zwischen React und Vue?"),
    ("it", "Qual è la differenza tra React e Vue nei vostri progetti?"),
    ("ca", "Quina és la diferència entre React i Vue?"),
    ("nl", "Wat zijn de beste projecten in deze portefeuille?"),
    ("pl", "Jakie projekty są dostępne?"),
    ("ru", "Какие проекты используют React и почему?"),
    ("zh", "这个团队有哪些使用React的项目？它们用了什么技术？"),
    ("ja", "Reactを使っているプロジェクトは何ですか？"),
]

SILENT = [
    "",
    "   ",
    "?",
    "2023",
    "3.14 + 2.72 = 5.86",
    "👍👍",
    "React",
    "React TypeScript",
    "Ana Torres, John Smith, Kenji Watanabe",
    "Apache Kafka Redis Postgres nginx Docker",
    "for i in range(10): print(i)",
    "if (a == b) { return null; }",
    "SELECT * FROM users WHERE id = 1",
    "from app.chat import model",
    "const x = await fetch(url).then(r => r.json())",
    "```\nthe quick brown fox is not here\n```",
    "`what is this`",
    "https://example.org/what-is-the-best",
    "el_total = la_suma(los_datos)",
    "v1.2.3-beta",
]

ENGLISH_DOCUMENT = """# Atlas

Atlas is the dashboard of our logistics team. It was written in React and TypeScript by Ana Torres
and José Núñez, and shows where every truck is. Data come from Kafka; positions are kept for
thirty days in Postgres.

    git clone https://example.org/atlas
"""
SPANISH_DOCUMENT = """# Faro

Faro es el panel de control de nuestro equipo de logística. Lo escribieron Ana Torres y John Smith
con React y TypeScript, y muestra dónde está cada camión. Los datos llegan por Kafka; las
posiciones se guardan treinta días en Postgres.

    git clone https://example.org/faro
"""


@pytest.mark.parametrize("text", ENGLISH)
def test_short_english(text: str) -> None:
    assert detect_language(text, default="es") == "en"


@pytest.mark.parametrize("text", SPANISH)
def test_short_spanish(text: str) -> None:
    assert detect_language(text, default="en") == "es"


@pytest.mark.parametrize(("code", "text"), OTHERS)
def test_other_languages(code: str, text: str) -> None:
    assert detect_language(text) == code


@pytest.mark.parametrize("text", SILENT)
def test_what_tells_nothing_is_the_default(text: str) -> None:
    assert detect_language(text) == "en"
    assert detect_language(text, default="es") == "es"
    assert detect_language(text, default="fr") == "fr"


@pytest.mark.parametrize("text", ["Ça va ?", "Danke", "Was ist das?", "Obrigado"])
def test_a_short_text_in_a_third_language_is_not_guessed(text: str) -> None:
    assert detect_language(text, default="es") == "es"


def test_documents() -> None:
    assert detect_language(ENGLISH_DOCUMENT, default="es") == "en"
    assert detect_language(SPANISH_DOCUMENT, default="en") == "es"
    assert detect_language(SPANISH_DOCUMENT + ENGLISH_DOCUMENT * 200, default="en") == "en"


def test_mixed_case_and_missing_accents_change_nothing() -> None:
    assert detect_language(SPANISH_DOCUMENT.upper(), default="en") == "es"
    assert detect_language(ENGLISH_DOCUMENT.upper(), default="es") == "en"
    plain = SPANISH_DOCUMENT.translate(str.maketrans("áéíóú", "aeiou"))
    assert detect_language(plain, default="en") == "es"


@pytest.mark.parametrize(
    "unit", ["(", "a(", "`", "a`", "_", "a.", "'", "a'", "¿", "ñ", "the ", "\n"]
)
def test_the_longest_message_is_no_trouble(unit: str) -> None:
    assert detect_language(unit * 8000, default="en") in {"en", "es"}


def test_english_and_spanish_need_no_model() -> None:
    """The model costs 0.7 s and 100 MB: a process that never needs it must not pay."""
    program = (
        "import json, sys; from app.chat.language import detect_language;"
        "print([detect_language(t) for t in json.load(sys.stdin)].count('es'));"
        "print('py3langid' in sys.modules)"
    )
    texts = [*ENGLISH, *SPANISH, ENGLISH_DOCUMENT, SPANISH_DOCUMENT, "React", ""]
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(len(SPANISH) + 1), "False"]


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "en"),
        ("EN-us", "en"),
        ("es_MX", "es"),
        (" es ", "es"),
        ("zh-Hant-TW", "zh"),
        ("es-419", "es"),
        ("", None),
        ("e", None),
        ("xx", None),
        ("eng", None),
        ("english", None),
        ("en-", None),
        ("en us", None),
        ("en\x00", None),
        ("ｅｎ", None),
        ("*", None),
    ],
)
def test_normalise_language(tag: str, code: str | None) -> None:
    assert normalise_language(tag) == code


async def test_in_the_event_loop_a_third_language_is_recognised_too() -> None:
    assert await recognise("Où se trouve la gare la plus proche de la cathédrale ?") == "fr"
    assert await recognise("¿Dónde está la estación?") == "es"
