"""The agent's own voice: who it is, how it speaks."""

from collections.abc import Sequence
from dataclasses import replace

from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.retrieval.ports import Hit, Source
from app.retrieval.sources import PERSONA

# A voice needs few words, and every one of them takes a document's place in the prompt.
LIMIT = 3
# Most questions are not about the agent: what is less near than this has nothing to say to them.
MIN_SIMILARITY = 0.35


class PersonaSource:
    """Passages of the agent's persona portfolio that are near to the question; none for an agent
    without one. `nearest` is the source that searches a portfolio by meaning."""

    name = PERSONA

    def __init__(self, nearest: Source) -> None:
        self._nearest = nearest

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        if request.persona_id is None:
            return ()
        voice = replace(
            request,
            portfolio_id=request.persona_id,
            encoder=request.persona_encoder,
            top_k=min(request.top_k, LIMIT),
        )
        hits = await self._nearest.search(scope, voice)
        return [hit for hit in hits if hit.score >= MIN_SIMILARITY]
