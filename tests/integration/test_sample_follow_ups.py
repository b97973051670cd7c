"""What is asked next about the sample portfolio, of the running service and without a model: the
questions before help to find it, and hurt nothing that would be found without them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx2
import pytest

from tests.support.command import Running
from tests.support.live import events

CONCURRENT = 4
ATLAS, LUMEN = "atlas-dashboard.md", "lumen-patient-portal.md"
GRANARY, HERON = "granary-inventory.md", "heron-vision.md"
# What was asked before, what then, the document that answers and its words.
Case: TypeAlias = tuple[list[str], str, str, str]
FOLLOW_UPS: list[Case] = [
    (["Who led the Atlas dashboard?"], "And when was it built?", ATLAS, "between 2021 and 2023"),
    (["Who led the Atlas dashboard?"], "and the Lumen patient portal?", LUMEN, "Noor Halvani led"),
    (["What is Heron?"], "Who led it?", HERON, "Hana Mirecek led Heron"),
    (["What is Heron?"], "How fast does it decide?", HERON, "decides in 38 milliseconds"),
    (["What is Heron?", "Who led it?"], "When was it built?", HERON, "built in 2023"),
    (["What is Granary?"], "What is planned for it in 2026?", GRANARY, "is planned for 2026"),
    (["What is Riverbed?"], "How much does it cost?", "riverbed-warehouse.md", "1,300 euros"),
    (["Who founded Lanternfold?"], "When?", "team.md", "founded in 2018"),
    (["Who led Atlas?", "and Lumen?"], "How many patients does it serve?", LUMEN, "86,000"),
    (["What is Granary?", "and Lumen?"], "Who led it?", LUMEN, "Noor Halvani led"),
    (["What is Granary?", "thanks"], "Who led it?", GRANARY, "Ruben Ostrander led"),
    (["¿Quién dirigió Vitrina?"], "¿Y cuándo se desarrolló?", "vitrina.md", "entre 2022 y 2023"),
    (["¿Qué es Acequia?"], "¿Y quién es su responsable?", "acequia.md", "Quintorre dirigió"),
    (["¿Qué es Telar?"], "¿Y su rechazo de facturas?", "telar.md", "0,6 por ciento"),
]
# They begin as follow-ups, and another subject was spoken of before.
OF_THEIR_OWN: list[Case] = [
    (["What technologies does Atlas use?"], "And who led Lumen?", LUMEN, "Noor Halvani led"),
    (["Who led Atlas?"], "So what is planned for Granary in 2026?", GRANARY, "for 2026"),
    (["What React projects are there?"], "And which system is written in Django?", GRANARY,
     "Django, Celery, MySQL"),
    (["Who founded Lanternfold?"], "Then how fast is Heron?", HERON, "38 milliseconds"),
    (["¿Quién dirigió Vitrina?"], "¿Y quién dirigió Acequia?", "acequia.md", "Quintorre dirigió"),
]  # fmt: skip
# One below what was measured: a gate, not a goal.
FOUND, ANSWERED = 13, 12


@dataclass(frozen=True)
class Reply:
    """What the service said to the last message of a conversation."""

    document: str
    words: str
    sources: list[str]
    done: dict[str, Any]
    answer: str

    @property
    def found(self) -> bool:
        return self.document in self.sources

    @property
    def answers(self) -> bool:
        cited = {each["uri"] for each in self.done["citations"]}
        return self.document in cited and self.words in self.answer


@pytest.fixture(scope="module")
async def http(running_service: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=running_service.url, timeout=30, trust_env=False
    ) as client:
        yield client


async def converse(
    http: httpx2.AsyncClient, messages: list[str], document: str, words: str
) -> Reply:
    """Ask one after the other in one conversation; the last reply. Again from the beginning where
    a machine too busy for the encoder's deadline answered by keywords."""
    while True:
        going_on: dict[str, Any] = {"cache": "off"}
        for message in messages:
            body = {"message": message, **going_on}
            async with http.stream("POST", "/api/agents/1/chat/stream", json=body) as response:
                said = [event async for event in events(response)]
            going_on["conversation_id"] = said[-1]["conversation_id"]
        if not said[-1]["degraded"]:
            sources = [each["uri"] for event in said for each in event.get("sources", ())]
            text = "".join(event.get("content", "") for event in said)
            return Reply(document, words, sources, said[-1], text)


async def replies(
    http: httpx2.AsyncClient, cases: list[Case], *, alone: bool = False
) -> list[Reply]:
    gate = asyncio.Semaphore(CONCURRENT)

    async def reply(case: Case) -> Reply:
        before, message, document, words = case
        async with gate:
            return await converse(http, [*(() if alone else before), message], document, words)

    async with asyncio.timeout(120):
        return list(await asyncio.gather(*map(reply, cases)))


async def test_the_questions_before_find_what_a_follow_up_means(
    http: httpx2.AsyncClient,
) -> None:
    after, alone = await replies(http, FOLLOW_UPS), await replies(http, FOLLOW_UPS, alone=True)
    missed = [case for case, each in zip(FOLLOW_UPS, after, strict=True) if not each.found]
    assert sum(each.found for each in after) >= FOUND, missed
    assert sum(each.answers for each in after) >= ANSWERED
    assert sum(each.answers for each in alone) <= ANSWERED / 2
    lost = [
        case
        for case, there, here in zip(FOLLOW_UPS, after, alone, strict=True)
        if here.answers and not there.answers
    ]
    assert not lost


async def test_they_hurt_no_question_that_names_what_it_is_about(http: httpx2.AsyncClient) -> None:
    after = await replies(http, OF_THEIR_OWN)
    alone = await replies(http, OF_THEIR_OWN, alone=True)
    assert all(each.answers for each in after)
    assert [each.answer for each in after] == [each.answer for each in alone]
