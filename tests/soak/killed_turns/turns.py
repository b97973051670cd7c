"""A request whose process is killed, the same request sent again, and what is stored of both."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2
import orjson

from tests.soak.deployment import Deployment
from tests.soak.killed_turns.moments import Ear
from tests.soak.processes import Service, kill
from tests.soak.visits import Visit

# After a crash a run may be said to go on for twenty seconds; then it is begun again.
ANSWERED_WITHIN_SECONDS = 60.0
PAUSE_SECONDS = 0.25
STORED = """
SELECT q.id, q.conversation_id, r.status, r.message_id,
       array_remove(array_agg(a.content), NULL) AS answers,
       array_remove(array_agg(a.status), NULL) AS statuses
  FROM messages q
  LEFT JOIN runs r ON r.question_id = q.id
  LEFT JOIN messages a ON a.run_id = r.id AND a.role = 'assistant'
 WHERE q.role = 'user' AND q.content = $1
 GROUP BY q.id, q.conversation_id, r.status, r.message_id
"""
AGE = """
UPDATE runs SET alive_at = now() - interval '1 minute'
 WHERE question_id IN (SELECT id FROM messages WHERE content = $1)
"""


@dataclass(slots=True)
class Turn:
    """One question under one key. `continued` is the conversation that it goes on with, `killed`
    when its process was (monotonic), `heard` the answer, where its client got all of it before."""

    agent: int
    question: str
    streamed: bool
    continued: str | None = None
    key: str = field(default_factory=lambda: uuid4().hex)
    killed: float = 0.0
    heard: str | None = None

    @property
    def path(self) -> str:
        return f"/api/agents/{self.agent}/chat{'/stream' if self.streamed else ''}"

    @property
    def body(self) -> dict[str, Any]:
        more = {"conversation_id": self.continued} if self.continued else {}
        return {"message": self.question, **more}


@dataclass(frozen=True, slots=True)
class Stored:
    """What Postgres has of a question: how often it is there, its answers, and its run's state."""

    questions: int
    answers: list[str]
    statuses: list[str]
    runs: list[str | None]


async def send(turn: Turn, url: str, ear: Ear) -> None:
    """The first time: to whom is going to be killed. Notes the answer if it comes whole."""
    async with Visit(url, "POST", turn.path, turn.body, {"Idempotency-Key": turn.key}) as visit:
        if not turn.streamed:
            await visit.to_end()
            turn.heard = orjson.loads(visit.body)["answer"] if visit.whole else None
            return
        while await visit.until(ear.events + 1):
            ear.events = len(visit.frames)
        if visit.events and visit.events[-1]["type"] == "done":
            turn.heard = visit.text


async def kill_at(
    turn: Turn, victim: Service, ear: Ear, reached: Callable[[], Awaitable[None]]
) -> bool:
    """Ask, and kill who is asked as soon as it is there; False where it never came to it."""
    asking = asyncio.create_task(send(turn, victim.url, ear))
    coming = asyncio.ensure_future(reached())
    await asyncio.wait({asking, coming}, return_when=asyncio.FIRST_COMPLETED)
    there = coming.done()
    coming.cancel()
    if there:
        turn.killed = time.monotonic()
        await kill(victim.process)
    await asyncio.gather(asking, coming, return_exceptions=True)
    return there


async def again(turn: Turn, running: Deployment, url: str) -> tuple[str | None, list[str]]:
    """Send the same request until it is answered; the answer, and why it was not before."""
    reasons: list[str] = []
    async with asyncio.timeout(ANSWERED_WITHIN_SECONDS):
        while True:
            answer, reason = await _once(turn, running.http, url)
            if answer is not None:
                return answer, reasons
            reasons.append(reason)
            await asyncio.sleep(PAUSE_SECONDS)


async def _once(turn: Turn, http: httpx2.AsyncClient, url: str) -> tuple[str | None, str]:
    headers = {"Idempotency-Key": turn.key}
    response = await http.post(f"{url}{turn.path}", json=turn.body, headers=headers)
    if response.status_code != 200:
        return None, str(response.json().get("code"))
    if not turn.streamed:
        return response.json()["answer"], ""
    lines = (line[5:] for line in response.text.split("\n") if line.startswith("data:"))
    events: list[Mapping[str, Any]] = [orjson.loads(line) for line in lines]
    if events[-1]["type"] != "done":
        return None, str(events[-1].get("code"))
    return "".join(each["content"] for each in events if each["type"] == "token"), ""


async def stored(running: Deployment, question: str) -> Stored:
    rows = await running.behind(STORED, question)
    return Stored(
        len(rows),
        [answer for row in rows for answer in row["answers"]],
        [status for row in rows for status in row["statuses"]],
        [row["status"] for row in rows],
    )


async def age(running: Deployment, question: str) -> None:
    """As if its process had been dead for a minute."""
    await running.behind(AGE, question)
