"""What the graph is for: questions whose answer stands where none of their words do."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.command import Running

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTIONS: list[dict[str, Any]] = json.loads((EXAMPLES / "questions.json").read_bytes())
WITHOUT = ("vector", "keyword")
WITH = (*WITHOUT, "graph")
TOP_K = 8
CONCURRENT = 6
# Of recall@8. Measured: 0.788 to 0.924 of 22 English, 0.769 to 0.846 of 13 Spanish questions.
GAIN = {"en": 0.05, "es": 0.03}
# Measured: 0.917 to 0.927 of 37 questions. A gate, not a goal.
LOSS = 0.01


@dataclass(frozen=True)
class Asked:
    """A question of the samples with what was found for it without and with the graph."""

    question: dict[str, Any]
    without: Sequence[dict[str, Any]]
    with_it: Sequence[dict[str, Any]]

    def recall(self, passages: Sequence[dict[str, Any]]) -> float:
        """Of the files that answer, the share whose answering words are in a passage of theirs;
        of no more files than there are places."""
        answers: dict[str, str] = self.question["answers"]
        found = sum(
            any(passage["uri"] == name and words in passage["text"] for passage in passages)
            for name, words in answers.items()
        )
        return found / min(len(answers), TOP_K)


@pytest.fixture(scope="module")
async def http(running_service: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=running_service.url, timeout=30, trust_env=False
    ) as client:
        yield client


@pytest.fixture(scope="module")
async def asked(http: httpx2.AsyncClient) -> list[Asked]:
    gate = asyncio.Semaphore(CONCURRENT)

    async def passages(question: str, sources: Sequence[str]) -> list[dict[str, Any]]:
        body = {"query": question, "portfolio_id": 1, "top_k": TOP_K, "sources": list(sources)}
        while True:
            async with gate:
                response = await http.post("/api/retrieve", json=body)
            assert response.status_code == 200, response.text
            # A machine too busy for the encoder's deadline leaves it out and says so.
            if not response.json()["degraded"]:
                found: list[dict[str, Any]] = response.json()["passages"]
                return found

    async def both(question: dict[str, Any]) -> Asked:
        text = question["question"]
        return Asked(question, *await asyncio.gather(passages(text, WITHOUT), passages(text, WITH)))

    async with asyncio.timeout(120):
        return list(await asyncio.gather(*map(both, QUESTIONS)))


def mean_recall(asked: Sequence[Asked]) -> tuple[float, float]:
    """Without the graph, and with it."""
    return (
        sum(each.recall(each.without) for each in asked) / len(asked),
        sum(each.recall(each.with_it) for each in asked) / len(asked),
    )


@pytest.mark.parametrize("language", ["en", "es"])
def test_two_hop_questions_are_answered_better_with_the_graph(
    asked: list[Asked], language: str
) -> None:
    two = [
        each
        for each in asked
        if each.question["hops"] == 2 and each.question["language"] == language
    ]
    without, with_it = mean_recall(two)
    assert with_it >= without + GAIN[language]


def test_other_questions_lose_nothing(asked: list[Asked]) -> None:
    without, with_it = mean_recall([each for each in asked if each.question["hops"] == 1])
    assert with_it >= without - LOSS
