"""The guards on labelled pairs: what asks the same, and what does not however near it stands."""

import pytest

from app.chat.guards import GUARDS, declined

# Two questions that ask the same, a pair a line.
SAME = {
    "en": """
        What React projects are there? | Which React projects are there?
        What React projects are there? | what react projects are there
        What React projects are there? | What are the React projects?
        Who finished Atlas in 2024? | In 2024, who finished Atlas?
        How do I reset my password? | How can I reset my password?
        How do I reset my password? | how to reset my password
        How do I reset my password? | Please, how do I reset my password? Thanks!
        How do I reset my password? | Hi, how do we reset my password
        Where is the office? | Can you tell me where the office is?
        Where is the office? | Could you please tell me where the office is?
        Where is the office? | Where's the office
        Where is the office? | Hello, Where is the office?
        Where is the office? | Hello! Do you know where the office is?
        Where does Ana work? | Tell me where Ana works
        Where does Ana work? | I would like to know where Ana works.
        What does a manager do? | Tell me what a manager does
        What's the price of a licence? | What is the price of the licence?
        Is Atlas finished? | Do you know if Atlas is finished?
        Is Atlas finished? | Can you tell me whether Atlas is finished?
        Which projects don't use React? | Which projects do not use React?
        Which projects can't be deleted? | Which projects cannot be deleted?
        Who is Ana Ruiz? | who is ana ruiz
        Who is Ana Ruiz? | Who's Ana Ruiz?
        How many people work on Atlas? | how many people work on atlas???
        How many people work on Atlas? | Do you know how many people work on Atlas?
        List all projects with their technologies | Show me all the projects with their technologies
        List all projects with their technologies | Give me all projects with their technologies
        Describe the architecture of Atlas | Explain the architecture of Atlas
        Describe the architecture of Atlas | please describe the architecture of Atlas
        How much does the Pro plan cost? | How much does a Pro plan cost
        How much is 1,000 EUR in USD? | How much is 1000 EUR in USD?
        Who won the third prize? | Who won the 3rd prize?
        Who won two prizes? | Who won 2 prizes?
        What are the opening hours? | What are the opening hours, please?
        What are the opening hours? | Quick question: what are the opening hours
        When was Atlas released? | when was atlas released
        When was Atlas released? | I was wondering when Atlas was released
        Can members cancel a booking? | Can a member cancel bookings?
        Which movie won in 1994? | Which film won in 1994?
        Where can I purchase tickets? | Where can I buy tickets?
        Is there an e-mail address for support? | is there an e-mail address for the support
        What is the capital of Spain? | what's the capital of Spain?
        What is the café's address? | What is the cafe's address?
        Who reports to Ana? | Tell us who reports to Ana
        What happened on 3 May 2024? | On 3 May 2024, what happened?
        Will the office be closed tomorrow? | Tomorrow, will the office be closed?
        What's new in version 2.1? | What is new in version 2.1
        How long does delivery take? | May I ask how long delivery takes?
        Compare React and Vue | Please compare React and Vue
        What is the difference between TCP and UDP? | what's the difference between TCP and UDP
        Which cities have an office? | Which city has an office?
        Are there any discounts for students? | Are there any discounts for a student?
        """,
    "es": """
        ¿Qué proyectos hay de React? | Que proyectos hay de react
        ¿Quién dirige Atlas? | Hola, ¿puedes decirme quién dirige Atlas?
        ¿Quién dirige Atlas? | quien dirige atlas
        ¿Quién dirige Atlas? | Dime quién dirige Atlas, por favor
        ¿Quién dirige Atlas? | Quisiera saber quién dirige Atlas.
        ¿Quién dirige Atlas? | Buenos días, ¿me podrías decir quién dirige Atlas?
        ¿Quién dirige Atlas? | ¿Sabes quién dirige Atlas?
        ¿Cómo puedo cambiar mi contraseña? | Cómo cambiar mi contraseña
        ¿Cómo puedo cambiar mi contraseña? | ¿Cómo podría cambiar mi contraseña?
        ¿Cuántos empleados tiene la empresa? | Cuantos empleados tiene la empresa
        ¿Dónde está la oficina? | Donde está la oficina?
        ¿Cuál es el precio de la licencia? | ¿Cuáles son los precios de las licencias?
        ¿Cuánto cuesta el plan Pro? | cuanto cuesta un plan Pro
        En 2024, ¿quién terminó Atlas? | ¿Quién terminó Atlas en 2024?
        ¿Por qué se retrasó Atlas? | por que se retraso atlas
        ¿Qué es React? | que es React
        ¿Qué es React? | Hola, ¿qué es React? Gracias
        Explica la arquitectura de Atlas | Describe la arquitectura de Atlas
        ¿Cuándo abre la tienda? | Por favor, ¿cuándo abre la tienda?
        ¿Dónde puedo comprar una foto? | ¿Dónde puedo comprar una fotografía?
        ¿Quién ganó el tercer premio? | ¿Quién ganó el 3º premio?
        ¿Quién ganó dos premios? | ¿Quién ganó 2 premios?
        ¿Hay descuentos para estudiantes? | ¿Sabes si hay descuentos para estudiantes?
        Muéstrame los proyectos con React | Dame los proyectos con React
        ¿Cuál es la capital de España? | cual es la capital de españa
        ¿Qué pasó el 3 de mayo? | El 3 de mayo, ¿qué pasó?
        """,
}

# Two that do not, by the guard that says so.
OTHER = {
    "en": {
        "negation": """
            Which projects use React? | Which projects do not use React?
            Which projects use React? | Which projects don't use React?
            Can I pay with a card? | Can I pay without a card?
            Who has finished? | Who has never finished?
            Which of them is open on Sundays? | Which of them isn't open on Sundays?
            Is it possible to cancel? | Is it not possible to cancel?
            Projects with React but not Vue | Projects not with React but Vue
            Which foods are safe? | Which foods are non safe?
            What can I bring? | What can't I bring?
            Everyone except Ana is invited? | Everyone including Ana is invited?
            """,
        "numbers": """
            What does version 2 change? | What does version 3 change?
            Who won the first prize? | Who won the second prize?
            Which rooms fit 12 people? | Which rooms fit 120 people?
            Is 1.5 enough? | Is 15 enough?
            What happened in 2023? | What happened in 2024?
            Move 5 boxes in 3 trips | Move 3 boxes in 5 trips
            Is 10:30 free? | Is 11:30 free?
            How do I split it in two? | How do I split it in three?
            What is in chapter 1? | What is in chapter 11?
            Who has half of the shares? | Who has both of the shares?
            """,
        "dates": """
            Is the office closed today? | Is the office closed tomorrow?
            What are the goals for this year? | What are the goals for next year?
            What did we sell last month? | What did we sell last week?
            Who is on call on Monday? | Who is on call on Tuesday?
            What was planned before the launch? | What was planned after the launch?
            Who is the current manager? | Who is the former manager?
            Is the shop open in the morning? | Is the shop open in the evening?
            Projects since May | Projects until May
            What changed in Q1 January? | What changed in Q1 March?
            What is the latest release? | What is the next release?
            """,
        "units": """
            Who earns more than $50? | Who earns more than €50?
            Is 5% the limit? | Is 5 the limit?
            What happens at -5 degrees? | What happens at 5 degrees?
            What does x > 5 mean? | What does x < 5 mean?
            What does 👍 mean? | What does 👎 mean?
            Is it 20° outside? | Is it 20% outside?
            What is A & B? | What is A + B?
            """,
        "names": """
            Who is Ana Ruiz? | Who is Ana Ramos?
            Which projects use React? | Which projects use Vue?
            What does IT do? | What does it do?
            Who pays in the US? | Who pays in the us?
            Where is Atlas used? | Where is Zephyr used?
            What is the capital of Austria? | What is the capital of Australia?
            Tell me about Java | Tell me about JavaScript
            How does C work? | How does C++ work?
            Does WHO recommend it? | Does who recommend it?
            """,
        "asked": """
            Who wrote Atlas? | When wrote Atlas?
            Why is Atlas slow? | How is Atlas slow?
            Where was it signed? | When was it signed?
            What's my name? | What's your name?
            Can I cancel? | Can you cancel?
            What is his role? | What is her role?
            Is React used? | Where is React used?
            Does he like her? | Does she like him?
            Is there a gym? | Why is there a gym?
            """,
        "tense": """
            Who is the CEO? | Who was the CEO?
            What is a manager? | What does a manager do?
            What does a manager have? | What is a manager?
            What does a manager do? | What does a manager have?
            Which servers are down? | Which servers were down?
            """,
        "direction": """
            Is React faster than Vue? | Is Vue faster than React?
            How do I get from Rome to Paris? | How do I get from Paris to Rome?
            flights from Paris to Rome | flights to Paris from Rome
            Does Ana report to Bo? | Does Bo report to Ana?
            Who beat whom, Spain or Italy? | Who beat whom, Italy or Spain?
            What depends on Atlas? | What does Atlas depend on?
            emails to Ana | emails from Ana
            books by Ana | books about Ana
            projects with React or Vue | projects with React and Vue
            Did the dog bite the man? | Did the man bite the dog?
            How do I turn it on? | How do I turn it off?
            How do I log in? | How do I log out?
            Convert miles to kilometres | Convert kilometres to miles
            lessons for children | lessons with children
            """,
        "content": """
            What is the opening price? | What is the closing price?
            Who manages Ana? | Who does Ana manage?
            What calls X2? | What does X2 call?
            What is the cost of Pro? | What is the price of Pro?
            Which is the cheapest plan? | Which is the dearest plan?
            Who has more points? | Who has fewer points?
            What is the minimum age? | What is the maximum age?
            Is smoking allowed? | Is smoking forbidden?
            Can I enter the lab? | Must I enter the lab?
            Do all projects use tests? | Do some projects use tests?
            Who opened the account? | Who closed the account?
            What are the advantages of SQL? | What are the disadvantages of SQL?
            How long is 5 km? | How long is 5 mi?
            How old is the bridge? | How long is the bridge?
            Which projects only use React? | Which projects use React?
            How do I import data? | How do I export data?
            Will the price rise? | Will the price fall?
            What are the means? | What are the mean?
            How do I delete a user? | How do I delete a group?
            """,
    },
    "es": {
        "negation": """
            ¿Qué proyectos usan React? | ¿Qué proyectos no usan React?
            ¿Puedo pagar con tarjeta sin cargo? | ¿Puedo pagar con tarjeta con cargo?
            ¿Quién ha terminado? | ¿Quién nunca ha terminado?
            """,
        "numbers": """
            ¿Quién ganó el primer premio? | ¿Quién ganó el segundo premio?
            ¿Qué pasó en 2023? | ¿Qué pasó en 2024?
            ¿Hay dos salas? | ¿Hay tres salas?
            """,
        "dates": """
            ¿Abren hoy? | ¿Abren mañana?
            ¿Qué objetivos hay para el año actual? | ¿Qué objetivos hay para el año próximo?
            ¿Quién está de guardia el lunes? | ¿Quién está de guardia el martes?
            ¿Qué pasó antes del lanzamiento? | ¿Qué pasó después del lanzamiento?
            """,
        "units": """
            ¿Quién gana más de 50 €? | ¿Quién gana más de 50 $?
            ¿El límite es 5 %? | ¿El límite es 5?
            """,
        "names": """
            ¿Quién es Ana Ruiz? | ¿Quién es Ana Ramos?
            ¿Qué proyectos usan React? | ¿Qué proyectos usan Vue?
            ¿Dónde vive Peña? | ¿Dónde vive Pena?
            """,
        "asked": """
            ¿Quién firmó el contrato? | ¿Cuándo firmó el contrato?
            ¿Dónde se firmó? | ¿Cuándo se firmó?
            ¿Cuál es mi correo? | ¿Cuál es tu correo?
            ¿Qué es la capital? | ¿Cuál es la capital?
            """,
        "tense": """
            ¿Quién es el director? | ¿Quién fue el director?
            ¿Qué son los servidores? | ¿Qué eran los servidores?
            """,
        "direction": """
            ¿React es más rápido que Vue? | ¿Vue es más rápido que React?
            vuelos de París a Roma | vuelos a París de Roma
            ¿Ana depende de Bo? | ¿Bo depende de Ana?
            libros para Ana | libros sobre Ana
            """,
        "content": """
            ¿Cómo enciendo el equipo? | ¿Cómo apago el equipo?
            ¿Quién tiene más puntos? | ¿Quién tiene menos puntos?
            ¿Cuál es la edad mínima? | ¿Cuál es la edad máxima?
            ¿Quién abrió la cuenta? | ¿Quién cerró la cuenta?
            ¿Qué ventajas tiene SQL? | ¿Qué desventajas tiene SQL?
            """,
    },
}  # fmt: skip


def pairs(lines: str) -> list[list[str]]:
    return [line.strip().split(" | ") for line in lines.strip().splitlines()]


SAME_CASES = [(*each, language) for language, lines in SAME.items() for each in pairs(lines)]
OTHER_CASES = [
    (*each, language, guard)
    for language, guards in OTHER.items()
    for guard, lines in guards.items()
    for each in pairs(lines)
]


@pytest.mark.parametrize(("left", "right", "language"), SAME_CASES)
def test_the_same_question_passes_both_ways(left: str, right: str, language: str) -> None:
    assert (declined(left, right, language), declined(right, left, language)) == (None, None)


@pytest.mark.parametrize(("left", "right", "language", "guard"), OTHER_CASES)
def test_another_question_is_declined_both_ways(
    left: str, right: str, language: str, guard: str
) -> None:
    assert (declined(left, right, language), declined(right, left, language)) == (guard, guard)


def test_every_guard_has_cases() -> None:
    assert {guard for *_, guard in OTHER_CASES} == set(GUARDS)
    assert len(SAME_CASES) + len(OTHER_CASES) >= 150


@pytest.mark.parametrize(
    ("left", "right", "language", "same"),
    [
        ("Wo ist das Büro?", "wo ist das Büro", "de", True),
        ("Wo ist das Büro?", "Wo ist das neue Büro?", "de", False),
        ("Ist es schon da?", "Ist es schön da?", "de", False),
        ("Où est-il ou quoi ?", "Ou est-il ou quoi ?", "fr", False),
        ("これはハですか", "これはバですか", "ja", False),
        ("这个多少钱", "那个多少钱", "zh", False),
    ],
)
def test_without_a_table_every_word_counts(
    left: str, right: str, language: str, same: bool
) -> None:
    assert (declined(left, right, language) is None) is same


@pytest.mark.parametrize("text", ["", "?", "¿¿¿", "please", "thanks thanks", "😀", "!" * 400])
@pytest.mark.parametrize("language", ["en", "es", "xx"])
def test_whatever_is_asked_asks_the_same_as_itself(text: str, language: str) -> None:
    assert declined(text, text, language) is None
