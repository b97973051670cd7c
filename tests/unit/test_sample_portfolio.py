"""The sample documents and their questions keep what `examples/README.md` says of them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted((EXAMPLES / "portfolio").iterdir())
QUESTIONS: list[dict[str, Any]] = json.loads((EXAMPLES / "questions.json").read_bytes())
# Words so common that a text of this length has some, and that the other language lacks.
MARKERS = {"en": {"the", "and", "with", "from"}, "es": {"el", "los", "con", "que"}}


def language_of(text: str) -> str:
    words = Counter(text.lower().split())
    return max(MARKERS, key=lambda language: sum(words[word] for word in MARKERS[language]))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_document_is_short_plain_markdown_with_a_title(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", errors="strict")

    assert path.suffix == ".md"
    assert text.startswith("# ")
    assert "\x00" not in text and "\r" not in text and "�" not in text
    assert 150 <= len(text.split()) <= 450


def test_titles_are_unique() -> None:
    titles = [path.read_text("utf-8").partition("\n")[0] for path in FILES]

    assert len(set(titles)) == len(titles)


def test_there_are_thirty_one_documents_in_two_languages() -> None:
    assert Counter(language_of(path.read_text("utf-8")) for path in FILES) == {"en": 24, "es": 7}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["question"])
def test_a_question_is_answered_by_the_files_it_names(question: dict[str, Any]) -> None:
    assert set(question) == {"language", "hops", "question", "answers"}
    assert question["hops"] in (1, 2) and len(question["answers"]) >= question["hops"]
    for name, expected in question["answers"].items():
        assert expected in (EXAMPLES / "portfolio" / name).read_text("utf-8"), name


def test_questions_are_unique_and_in_both_languages() -> None:
    texts = [question["question"] for question in QUESTIONS]
    languages = Counter(question["language"] for question in QUESTIONS)

    assert len(set(texts)) == len(texts)
    assert languages["en"] >= 25 and languages["es"] >= 10
    assert sum(question["hops"] == 2 for question in QUESTIONS) >= 5


def test_every_document_answers_some_question() -> None:
    asked = {name for question in QUESTIONS for name in question["answers"]}

    assert {path.name for path in FILES} == asked
