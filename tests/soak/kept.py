"""What Postgres has of the questions that were asked, whatever their readers heard."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.soak.deployment import Deployment

STREAMING = """
SELECT count(*) FROM runs r JOIN messages q ON q.id = r.question_id
 WHERE r.status = 'streaming' AND q.content = ANY($1)
"""
KEPT = """
SELECT q.content AS question, r.status, r.error_code, r.usage::text AS usage,
       coalesce(a.content, '') AS answer, a.status AS message_status
  FROM runs r
  JOIN messages q ON q.id = r.question_id
  LEFT JOIN messages a ON a.id = r.message_id
"""
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Kept:
    """A question's run and its answer's message; `message_status` is None where there is none."""

    status: str
    error_code: str | None
    answer: str
    message_status: str | None
    usage: dict[str, Any]

    @property
    def usage_recorded(self) -> bool:
        """Something was asked, and where something was answered that was counted too."""
        answered = self.usage["completion_tokens"] > 0 or not self.answer
        return self.usage["prompt_tokens"] > 0 and answered


async def left_streaming(
    deployment: Deployment, questions: Sequence[str], patience_seconds: float
) -> int:
    """How many of their runs are said to be going on after that time; 0 as soon as none is."""
    count = 0
    for _ in range(round(patience_seconds / POLL_SECONDS)):
        [row] = await deployment.behind(STREAMING, list(questions))
        count = int(row[0])
        if not count:
            break
        await asyncio.sleep(POLL_SECONDS)
    return count


async def kept(deployment: Deployment) -> dict[str, Kept]:
    """By question; each is to be asked once only."""
    return {
        row["question"]: Kept(
            row["status"],
            row["error_code"],
            row["answer"],
            row["message_status"],
            json.loads(row["usage"]),
        )
        for row in await deployment.behind(KEPT)
    }
