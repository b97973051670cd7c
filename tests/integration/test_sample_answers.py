"""What a stranger sees first: the sample portfolio's questions, asked of the running service."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.command import Running

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTIONS: list[dict[str, Any]] = json.loads((EXAMPLES / "questions.json").read_bytes())
CONCURRENT = 6
# Two, one and four below what was measured (22 of 31, 7 of 11, 70 of 103): a gate, not a goal.
# What is missing was mostly not retrieved, or needs a second search for what the first one found.
FULLY_ANSWERED = {"en": 20, "es": 6}
DOCUMENTS_QUOTED = 66


@dataclass(frozen=True)
class Asked:
    """A question of the samples with what the service said."""

    question: dict[str, Any]
    reply: dict[str, Any]

    @property
    def found(self) -> list[str]:
        """The files whose answering words are in the answer, and which it cites."""
        cited = {citation["uri"] for citation in self.reply["citations"]}
        return [
            name
            for name, words in self.question["answers"].items()
            if name in cited and words in self.reply["answer"]
        ]

    @property
    def full(self) -> bool:
        return len(self.found) == len(self.question["answers"])


@pytest.fixture(scope="module")
async def http(running_service: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=running_service.url, timeout=30, trust_env=False
    ) as client:
        yield client


@pytest.fixture(scope="module")
async def answers(http: httpx2.AsyncClient) -> list[Asked]:
    gate = asyncio.Semaphore(CONCURRENT)

    async def ask(question: dict[str, Any]) -> Asked:
        body = {"message": question["question"], "cache": "off"}
        while True:
            async with gate:
                response = await http.post("/api/agents/1/chat", json=body)
            assert response.status_code == 200, response.text
            # A machine too busy for the encoder's deadline answers by keywords and says so.
            if not response.json()["degraded"]:
                return Asked(question, response.json())

    async with asyncio.timeout(120):
        return list(await asyncio.gather(*map(ask, QUESTIONS)))


@pytest.mark.parametrize("language", FULLY_ANSWERED)
def test_enough_questions_are_answered_in_full(answers: list[Asked], language: str) -> None:
    mine = [each for each in answers if each.question["language"] == language]
    partly = [each.question["question"] for each in mine if not each.full]
    assert len(mine) - len(partly) >= FULLY_ANSWERED[language], partly


def test_enough_of_the_answering_documents_are_quoted(answers: list[Asked]) -> None:
    assert sum(len(each.found) for each in answers) >= DOCUMENTS_QUOTED


def test_a_question_is_answered_in_its_own_language(answers: list[Asked]) -> None:
    wrong = Counter(
        each.question["question"]
        for each in answers
        if each.reply["language"] != each.question["language"]
    )
    assert not wrong


async def test_every_quote_is_the_documents_text_at_its_place(
    http: httpx2.AsyncClient, answers: list[Asked]
) -> None:
    citations = [citation for each in answers for citation in each.reply["citations"]]
    assert len(citations) >= DOCUMENTS_QUOTED
    texts: dict[int, str] = {}
    for identity in {citation["document_id"] for citation in citations}:
        texts[identity] = (await http.get(f"/api/documents/{identity}")).json()["text"]
    for citation in citations:
        text = texts[citation["document_id"]]
        assert text[citation["start"] : citation["end"]] == citation["quote"], citation["uri"]
