"""What was acknowledged, and whether Postgres has it."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from tests.soak.deployment import Deployment
from tests.soak.faults.crowd import Asked
from tests.soak.faults.steady import Told

STORED = """
SELECT a.id, a.content AS answer, q.content AS question, a.status, r.status AS run
  FROM messages a JOIN runs r ON r.message_id = a.id JOIN messages q ON q.id = r.question_id
 WHERE a.id = ANY ($1)
"""
STREAMING = "SELECT count(*) FROM runs WHERE status = 'streaming'"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An answer that somebody was told is complete."""

    message_id: UUID
    question: str
    answer: str


def of_streams(asked: Iterable[Asked]) -> list[Acknowledged]:
    found = []
    for each in asked:
        if each.reader.ended == "done":
            start = each.reader.events()[0]
            found.append(
                Acknowledged(UUID(str(start["message_id"])), each.question, each.reader.text)
            )
    return found


def of_requests(told: Iterable[Told]) -> list[Acknowledged]:
    """Of questions, by `what`, that were answered whole."""
    return [
        Acknowledged(UUID(each.body["message_id"]), each.what, each.body["answer"])
        for each in told
        if each.status == 200
    ]


async def lost(running: Deployment, acknowledged: Iterable[Acknowledged]) -> list[Acknowledged]:
    """Those that are not stored as they were told."""
    every = list(acknowledged)
    rows = await running.behind(STORED, [each.message_id for each in every])
    kept = {
        (UUID(bytes=row["id"].bytes), row["question"], row["answer"])
        for row in rows
        if row["status"] == row["run"] == "complete"
    }
    return [each for each in every if (each.message_id, each.question, each.answer) not in kept]


async def streaming(running: Deployment) -> int:
    """How many runs are said to go on."""
    [row] = await running.behind(STREAMING)
    return int(row[0])
