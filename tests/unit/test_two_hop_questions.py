"""The samples' two-hop questions are honest: the second text shares no words with them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.chat.names import words
from app.chat.patterns.words import ENGLISH, SPANISH
from app.providers.words import STOPWORDS

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTIONS: list[dict[str, Any]] = json.loads((EXAMPLES / "questions.json").read_bytes())
TWO_HOPS = [question for question in QUESTIONS if question["hops"] == 2]
NAME = re.compile(r"(?<=[\w,] )[A-ZÁÉÍÓÚ]\w+")


def shared(question: dict[str, Any], file: str) -> set[str]:
    """The words with a meaning, names aside, that a question has in common with a text."""
    text = (EXAMPLES / "portfolio" / file).read_text("utf-8")
    names = {word for name in NAME.findall(question["question"]) for word in words(name)}
    common = {*STOPWORDS, *ENGLISH, *SPANISH, *names}
    return set(words(question["question"])) & set(words(text)) - common


def test_there_are_enough_in_both_languages() -> None:
    honest = [q for q in TWO_HOPS if not any(shared(q, name) for name in list(q["answers"])[1:])]
    languages = [question["language"] for question in honest]
    assert languages.count("en") >= 15 and languages.count("es") >= 10


@pytest.mark.parametrize("question", TWO_HOPS, ids=lambda question: question["question"])
def test_the_second_text_is_not_named_in_the_question(question: dict[str, Any]) -> None:
    first, *others = question["answers"]
    for name in others:
        title = (EXAMPLES / "portfolio" / name).read_text("utf-8").partition("\n")[0]
        subject = re.split(r"[\s,]", title.removeprefix("# "))[0]
        assert subject not in question["question"], (first, name)
