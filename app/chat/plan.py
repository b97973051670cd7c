"""What is decided before an answer is produced, and what has been gathered of it so far."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from app.chat.cache import (
    CachedAnswer,
    answer_key,
    digest,
    history_digest,
    part_tag,
    passages_key,
    semantic_key,
    tenant_tag,
)
from app.chat.citations import CitationDecoder
from app.chat.events import Done, Start
from app.chat.flights import Leader
from app.chat.model import (
    Agent,
    ChatMessage,
    Citation,
    Ids,
    Passage,
    Portfolio,
    QueryComplexity,
    Question,
    Scope,
    Usage,
    Vector,
)
from app.chat.normalise import normalise_message
from app.chat.ports import Loaded, Provider, Reserved, RetrievalRequest, Turn
from app.chat.prompt import estimate_tokens
from app.chat.rewrite import Rewriting, Rewritten
from app.chat.timing import Stopwatch

# The source that needs no portfolio of the agent's.
PERSONA = "persona"
# Those that search a portfolio with the question's vector.
ENCODED = frozenset({"vector", "domain"})


@dataclass(frozen=True, slots=True)
class Plan:
    """A question with everything that was decided about it; immutable from here on.

    `follow_up` says that the message means nothing without the conversation before it, and
    `rewriting` how retrieval is asked for it; None where that is asked for the message itself."""

    installation: str
    scope: Scope
    question: Question
    ids: Ids
    loaded: Loaded
    provider: Provider
    address: str | None
    history: Sequence[ChatMessage]
    language: str
    complexity: QueryComplexity
    top_k: int
    max_tokens: int
    switches: Sequence[str]
    use_cache: bool
    fill_cache: bool
    follow_up: bool = False
    rewriting: Rewriting | None = None

    @property
    def agent(self) -> Agent:
        return self.loaded.agent

    @property
    def portfolio(self) -> Portfolio | None:
        return self.loaded.portfolio

    def start(self) -> Start:
        return Start(self.ids.run, self.ids.conversation, self.ids.message)

    def retrieval_request(self) -> RetrievalRequest | None:
        """What to retrieve; None where the question needs no documents or there are none."""
        persona, voice_only = self.loaded.persona, None
        portfolio = self.portfolio
        if portfolio is None and PERSONA in self.switches:
            portfolio, voice_only = persona, [PERSONA]
        if portfolio is None or self.top_k == 0:
            return None
        return RetrievalRequest(
            query=self.rewriting.joined if self.rewriting else self.question.message,
            portfolio_id=portfolio.id,
            top_k=self.top_k,
            language=self.language,
            complexity=self.complexity,
            filters=self.question.filters,
            sources=voice_only,
            encoder=portfolio.encoder,
            persona_id=persona.id if persona else None,
            persona_encoder=persona.encoder if persona else None,
        )

    def expected_vector(self) -> tuple[str, str] | None:
        """Encoder and text of the vector that the portfolio is going to be searched with; None
        where it is searched without one, or a model is to write the text."""
        request = self.retrieval_request()
        if request is None or request.encoder is None or (self.rewriting and self.rewriting.prompt):
            return None
        if request.sources is None and ENCODED.isdisjoint(self.switches):
            return None
        return request.encoder, request.query

    def keys(self) -> tuple[str, str]:
        """The cache keys of the whole answer and of its passages."""
        tenant = self.scope.tenant_id
        retrieval = passages_key(tenant, self._retrieval_parts())
        return answer_key(tenant, self._answer_parts()), retrieval

    def semantic_scope(self) -> str | None:
        """The key of all questions that differ from this one in the message alone; None where
        another question's answer can never be this one's: without documents there is no vector,
        and what was said before makes the same words another question."""
        parts = self._answer_parts()
        if self.retrieval_request() is None or self.follow_up or parts["context"] is not None:
            return None
        common = {name: part for name, part in parts.items() if name != "message"}
        return semantic_key(self.scope.tenant_id, common)

    def _answer_parts(self) -> Mapping[str, Any]:
        return {
            **self._retrieval_parts(),
            "agent": (self.agent.id, self.agent.version, self.agent.cache_epoch),
            "provider": (self.provider.name, self.provider.model, self.address),
            "max_tokens": self.max_tokens,
            "context": self._context(),
        }

    def _context(self) -> str | None:
        """What of the conversation the answer depends on. A provider that is given none of it
        answers a follow-up as it can, but never what the same words mean elsewhere."""
        conversation = self.question.conversation_id
        if self.history or not self.follow_up or conversation is None:
            return history_digest(self.history)
        said = history_digest(self.loaded.history)
        return digest({"conversation": str(conversation), "said": said})

    def _retrieval_parts(self) -> Mapping[str, Any]:
        return {
            "tenant": (self.installation, self.scope.tenant_id, self.loaded.tenant_epoch),
            "portfolio": _state(self.portfolio),
            "persona": _state(self.loaded.persona),
            "switches": list(self.switches),
            "language": self.language,
            "complexity": self.complexity,
            "top_k": self.top_k,
            "filters": dict(self.question.filters),
            "message": normalise_message(self.question.message),
            "rewriting": self._rewriting_parts(),
        }

    def _rewriting_parts(self) -> Mapping[str, Any] | None:
        """What makes the same follow-up another question to retrieval: what was said before, and
        which model completes it."""
        if self.rewriting is None:
            return None
        model = (self.provider.name, self.provider.model, self.address)
        return {
            "said": history_digest(self.loaded.history),
            "model": model if self.rewriting.prompt else None,
        }

    def tags(self) -> list[str]:
        """What cached entries of this question belong to, for early invalidation."""
        tenant = self.scope.tenant_id
        portfolios = {each.id for each in (self.portfolio, self.loaded.persona) if each}
        tags = [tenant_tag(tenant), part_tag("agent", tenant, self.agent.id)]
        return tags + [part_tag("portfolio", tenant, each) for each in sorted(portfolios)]


def _state(portfolio: Portfolio | None) -> Any:
    """What tells the contents of a portfolio apart from every other state of it."""
    if portfolio is None:
        return None
    return (portfolio.id, portfolio.version, portfolio.cache_epoch, portfolio.encoder)


@dataclass(slots=True)
class Draft:
    """What there is of an answer so far: complete at the end, partial when something stops it."""

    plan: Plan
    stopwatch: Stopwatch
    passages: Sequence[Passage] = ()
    fresh_passages: bool = False
    degraded: Sequence[str] = ()
    pieces: list[str] = field(default_factory=list)
    decoder: CitationDecoder | None = None
    citations: Sequence[Citation] = ()
    usage: Usage | None = None
    finish_reason: str | None = None
    cached: bool = False
    begun: bool = False
    beginning: "asyncio.Task[None] | None" = None
    leader: Leader | None = None
    owned: bool = True  # by somebody who asked, so that it is stored; else it is others' to share
    sourced: bool = False
    vector: Vector | None = None
    rewritten: Rewritten | None = None
    reserved: Reserved | None = None
    _keys: tuple[str, str] | None = None

    def keys(self) -> tuple[str, str]:
        """The plan's, which take as long as a look-up in the cache."""
        if self._keys is None:
            self._keys = self.plan.keys()
        return self._keys

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def leave(self, heir: UUID) -> "Draft":
        """What whoever asked has of it so far, for him alone. This one is nobody's from now on, and
        is made under the heir's id."""
        left = replace(self, pieces=list(self.pieces))
        self.plan = replace(self.plan, ids=replace(self.plan.ids, run=heir))
        self.owned = False
        return left

    def take(self, answer: CachedAnswer) -> CachedAnswer:
        """Make a cached answer this one's."""
        self.cached = True
        self.passages, self.citations = answer.passages, answer.citations
        self.usage, self.finish_reason = answer.usage, answer.finish_reason
        self.degraded, self.rewritten = (), None
        return answer

    def asked(self) -> str:
        """The message, or where it is a follow-up the question that stands for it."""
        rewriting = self.plan.rewriting
        standalone = self.rewritten.question if self.rewritten else None
        return standalone or (rewriting.joined if rewriting else self.plan.question.message)

    def cacheable(self) -> bool:
        """Only complete, undegraded answers that say something are worth repeating."""
        complete = self.finish_reason == "stop" and bool(self.pieces)
        return complete and not self.cached and not self.degraded and self.leader is None

    def counted_usage(self) -> Usage:
        """The provider's own count, or an estimate for what it did not count; the question's
        rewriting is part of it."""
        answered = self.usage or self._estimated_usage()
        return answered + self.rewritten.usage if self.rewritten else answered

    def _estimated_usage(self) -> Usage:
        prompt = self.plan.question.message + "".join(each.text for each in self.passages)
        return Usage(estimate_tokens(prompt), estimate_tokens(self.text), estimated=True)

    def cite(self) -> None:
        """Take over what was cited of the passages so far."""
        if self.decoder is not None and not self.citations:
            self.citations = self.decoder.citations(self.passages)

    def turn(self, status: str, error_code: str | None = None) -> Turn:
        plan = self.plan
        self.cite()
        return Turn(
            run_id=plan.ids.run,
            conversation_id=plan.ids.conversation,
            new_conversation=plan.question.conversation_id is None and not self.begun,
            question_id=plan.ids.question,
            message_id=plan.ids.message,
            agent_id=plan.agent.id,
            question=plan.question.message,
            answer=self.text,
            citations=self.citations,
            status=status,
            cached=self.cached,
            language=plan.language,
            complexity=plan.complexity,
            finish_reason=self.finish_reason,
            error_code=error_code,
            usage=self.counted_usage(),
            timings_ms=dict(self.stopwatch.timings_ms),
            degraded=self.degraded,
            sources=self.passages,
            top_k=plan.top_k,
            max_tokens=plan.max_tokens,
        )

    def done(self) -> Done:
        plan = self.plan
        self.stopwatch.mark("total")
        return Done(
            citations=self.citations,
            cached=self.cached,
            run_id=plan.ids.run,
            conversation_id=plan.ids.conversation,
            message_id=plan.ids.message,
            complexity=plan.complexity,
            top_k=plan.top_k,
            max_tokens=plan.max_tokens,
            language=plan.language,
            usage=self.counted_usage(),
            timings_ms=dict(self.stopwatch.timings_ms),
            degraded=self.degraded,
            finish_reason=self.finish_reason or "stop",
        )
