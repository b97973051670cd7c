"""The ports behind the HTTP layer, in memory, and an engine that follows a script."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from uuid import UUID

import httpx2
from fastapi import FastAPI

from app.api.revocation import Revocation
from app.api.services import Services
from app.api.sse import frame
from app.chat.administration import (
    AgentRecord,
    AuditEntry,
    AuditRecord,
    ConversationRecord,
    MessageRecord,
    Page,
    PortfolioRecord,
    UserRecord,
)
from app.chat.engine import Engine
from app.chat.events import Done, Event, Failed, Sources, Start, Token
from app.chat.journal import Journal
from app.chat.keys import SESSION_PREFIX, Holder, Keys, Opened
from app.chat.model import (
    Agent,
    Citation,
    Claim,
    Passage,
    QueryComplexity,
    Question,
    Scope,
    Usage,
)
from app.chat.ports import IdempotencyKey, Provider, Reserve, Retrieval, RetrievalRequest
from app.chat.run import Run
from app.chat.runs import Runs
from app.errors import (
    AppError,
    Conflict,
    DatabaseUnavailable,
    Forbidden,
    Interrupted,
    InvalidInput,
    NotFound,
    Unauthorized,
)
from app.identity.tokens import Tokens
from app.ingest.check import check_document
from app.ingest.ingestor import Ingestor
from app.ingest.jobs import documents_from, perform, result_of
from app.ingest.ports import Accepted, Backlog, DocumentRecord, Documents, NewDocument
from app.limits.ports import DayOfUse
from app.main import create_app
from app.outgoing.fetch import Pages
from app.outgoing.guard import Guard
from app.performance import PerformanceMonitor

Item = TypeVar("Item")

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = UUID("01890000-0000-7000-8000-000000000001")
CONVERSATION = UUID("01890000-0000-7000-8000-000000000002")
MESSAGE = UUID("01890000-0000-7000-8000-000000000003")
LOCAL = "http://127.0.0.1:8000"
OWNER = Scope(1)

PASSAGE = Passage(
    number=1,
    chunk_id=11,
    document_id=7,
    title="React",
    uri="react.md",
    text="React is a library.",
    start=0,
    end=19,
    score=0.5,
    sources={"vector": 1},
    similarity=0.9,
)
CITATION = Citation(1, 7, 11, "React", "react.md", "React is a library.", 0, 19, 0.5)
DONE = Done(
    citations=[CITATION],
    cached=False,
    run_id=RUN,
    conversation_id=CONVERSATION,
    message_id=MESSAGE,
    complexity=QueryComplexity.SIMPLE,
    top_k=3,
    max_tokens=2000,
    language="en",
    usage=Usage(10, 5, True),
    timings_ms={"retrieve": 1.5, "total": 2.25},
    degraded=[],
    finish_reason="stop",
)
START = Start(RUN, CONVERSATION, MESSAGE)
SOURCES = Sources([PASSAGE])
ANSWERED: list["Step"] = [START, SOURCES, Token("React is "), Token("a library [1]."), DONE]

Step = Event | AppError | asyncio.Event


class ScriptedEngine(Engine):
    """An engine whose runs go through `script`: events are appended, errors end the run, and an
    asyncio.Event is waited for."""

    def __init__(self) -> None:
        self.runs = Runs()
        self.script: Sequence[Step] = ANSWERED
        self.refusal: AppError | None = None
        self.asked: list[tuple[Scope, Question, float]] = []
        self.started: asyncio.Queue[Run] = asyncio.Queue()

    async def start(
        self,
        scope: Scope | Claim,
        question: Question,
        *,
        grace_seconds: float = 0.0,
        key: IdempotencyKey | None = None,
        reserve: Reserve | None = None,
    ) -> Run:
        scope = await known(scope)
        self.asked.append((scope, question, grace_seconds))
        if self.refusal is not None:
            raise self.refusal
        run = Run(uuid.uuid4(), scope, grace_seconds, frame)
        self.runs.add(run)
        run.started_by(asyncio.create_task(self._play(run, self.script)))
        self.started.put_nowait(run)
        return run

    async def find(self, scope: Scope, run_id: UUID) -> Run:
        run = self.runs.find(scope, run_id)
        if run is None:
            raise NotFound
        return run

    async def remove(
        self,
        scope: Scope,
        removing: Callable[[], Awaitable[None]],
        *,
        conversation_id: UUID | None = None,
        agent_id: int | None = None,
    ) -> None:
        await removing()

    async def _play(self, run: Run, script: Sequence[Step]) -> None:
        try:
            for step in script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, AppError):
                    raise step
                else:
                    run.append(step)
        except asyncio.CancelledError:
            run.error = Interrupted()
        except AppError as error:
            run.error = error
        if (error := run.error) is not None:
            run.append(Failed(error.code, error.message, error.retryable, error.status))
        self.runs.finish(run)


def page(items: Sequence[Item], limit: int, after: str | None) -> Page[Item]:
    """A page by position; a cursor that is not a number is refused."""
    if after is not None and not after.isdigit():
        raise InvalidInput("The cursor `after` is not one that this server gave out.")
    begin = int(after or 0)
    end = begin + limit
    return Page(items[begin:end], str(end) if end < len(items) else None)


async def known(caller: Scope | Claim) -> Scope:
    """The scope of whoever it is."""
    if isinstance(caller, Scope):
        return caller
    scope = await FakeCredentials().resolve(caller)
    if scope is None:
        raise Unauthorized
    return scope


class Records:
    """One tenant's records of a kind, by id."""

    def __init__(self) -> None:
        self.records: dict[int, Any] = {}

    def find(self, scope: Scope, number: int) -> Any:
        if scope.tenant_id != OWNER.tenant_id or number not in self.records:
            raise NotFound
        return self.records[number]

    def check_name(self, values: Mapping[str, Any], of: int | None = None) -> None:
        taken = {record.name for number, record in self.records.items() if number != of}
        if values.get("name") in taken:
            raise Conflict("This name is taken.")

    async def list(self, caller: Scope | Claim, limit: int, after: str | None) -> Page[Any]:
        await known(caller)
        return page(list(self.records.values()), limit, after)

    async def get(self, caller: Scope | Claim, number: int) -> Any:
        return self.find(await known(caller), number)

    async def update(self, scope: Scope, number: int, values: Mapping[str, Any]) -> Any:
        record = self.find(scope, number)
        self.check_name(values, number)
        self.records[number] = replace(record, version=record.version + 1, **values)
        return self.records[number]

    async def delete(self, scope: Scope, number: int) -> None:
        self.find(scope, number)
        del self.records[number]


class FakeAgents(Records):
    async def create(self, scope: Scope, values: Mapping[str, Any]) -> AgentRecord:
        self.check_name(values)
        number = len(self.records) + 1
        shown = with_key_shown(values)
        record = AgentRecord(id=number, version=1, created_at=NOW, updated_at=NOW, **shown)
        self.records[number] = record
        return record

    async def update(self, scope: Scope, number: int, values: Mapping[str, Any]) -> AgentRecord:
        record: AgentRecord = await super().update(scope, number, with_key_shown(values))
        return record


def with_key_shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """What an agent shows of the key it is given."""
    shown = dict(values)
    if "api_key" in shown:
        key = shown.pop("api_key")
        shown |= {"api_key_last4": key and key[-4:], "api_key_state": "ok" if key else "none"}
    return shown


class FakeUsers:
    """One tenant's, by id."""

    def __init__(self) -> None:
        self.records: dict[int, UserRecord] = {}

    async def create(self, scope: Scope, values: Mapping[str, Any]) -> UserRecord:
        email, number = values["email"].lower(), len(self.records) + 1
        if any(each.email == email for each in self.records.values()):
            raise Conflict
        named = {"name": "", "role": "member", **values, "email": email}
        self.records[number] = UserRecord(id=number, created_at=NOW, disabled_at=None, **named)
        return self.records[number]

    async def list(self, scope: Scope, limit: int, after: str | None) -> Page[UserRecord]:
        return page(list(self.records.values()), limit, after)

    async def get(self, scope: Scope, user_id: int) -> UserRecord:
        if scope.tenant_id != OWNER.tenant_id or user_id not in self.records:
            raise NotFound
        return self.records[user_id]

    async def find(self, scope: Scope, email: str) -> UserRecord:
        for record in self.records.values():
            if record.email == email.lower():
                return record
        raise NotFound

    async def update(self, scope: Scope, user_id: int, values: Mapping[str, Any]) -> UserRecord:
        changed = {name: each for name, each in values.items() if name != "sign_out_everywhere"}
        if "disabled" in changed:
            changed["disabled_at"] = NOW if changed.pop("disabled") else None
        self.records[user_id] = replace(await self.get(scope, user_id), **changed)
        return self.records[user_id]

    async def delete(self, scope: Scope, user_id: int) -> None:
        await self.get(scope, user_id)
        del self.records[user_id]


class FakePortfolios(Records):
    async def create(self, scope: Scope, values: Mapping[str, Any]) -> PortfolioRecord:
        self.check_name(values)
        number = len(self.records) + 1
        counts = {"version": 1, "document_count": 0, "chunk_count": 0}
        record = PortfolioRecord(id=number, **counts, created_at=NOW, updated_at=NOW, **values)
        self.records[number] = record
        return record

    async def check_writable(self, scope: Scope, portfolio_id: int) -> None:
        self.find(scope, portfolio_id)
        if scope.role == "member":
            raise Forbidden


class FakeDocuments:
    def __init__(self) -> None:
        self.records: dict[int, DocumentRecord] = {}
        self.away = False

    async def list(
        self, caller: Scope | Claim, portfolio_id: int, limit: int, after: str | None
    ) -> Page[DocumentRecord]:
        await known(caller)
        held = [each for each in self.records.values() if each.portfolio_id == portfolio_id]
        return page([replace(each, text="") for each in held], limit, after)

    async def get(self, caller: Scope | Claim, document_id: int) -> DocumentRecord:
        await known(caller)
        if document_id not in self.records:
            raise NotFound
        return self.records[document_id]

    async def count_waiting(self, scope: Scope) -> int:
        if self.away:
            raise DatabaseUnavailable
        return sum(record.status == "pending" for record in self.records.values())

    async def backlog(self) -> Backlog:
        if self.away:
            raise DatabaseUnavailable
        return Backlog(sum(record.status == "pending" for record in self.records.values()), 2.5)

    async def delete(self, scope: Scope, document_id: int) -> None:
        await self.get(scope, document_id)
        del self.records[document_id]


class FakeReader:
    """Does the jobs here, as they are done in a process of their own."""

    async def parse(
        self, name: str, data: bytes, content_type: str | None, max_documents: int
    ) -> list[NewDocument]:
        options = {"name": name, "content_type": content_type, "max_documents": max_documents}
        return documents_from(result_of(perform("parse", options, data)))

    async def look_through(self, body: bytes) -> None:
        result_of(perform("look_through", {}, body))


class FakeIngestor:
    """Stores at once; `index` marks what has "unreadable" for a title as failed."""

    def __init__(self, documents: FakeDocuments, portfolios: FakePortfolios) -> None:
        self._documents = documents
        self._portfolios = portfolios

    async def accept(
        self, scope: Scope, portfolio_id: int, documents: Sequence[NewDocument]
    ) -> Sequence[Accepted]:
        for document in documents:
            check_document(document, 10 * 1024 * 1024)
        await self._portfolios.get(scope, portfolio_id)
        return [self._store(portfolio_id, document) for document in documents]

    async def index(self, upload_ids: Sequence[int]) -> None:
        for number in upload_ids:
            record = self._documents.records[number]
            failed = record.title == "unreadable"
            state = ("failed", "It cannot be read.") if failed else ("indexed", None)
            self._documents.records[number] = replace(record, status=state[0], error=state[1])

    def _store(self, portfolio_id: int, document: NewDocument) -> Accepted:
        records = self._documents.records
        for record in records.values():
            if (record.uri, record.text) == (document.uri, document.text):
                return Accepted(record.id, "unchanged", None)
        number = len(records) + 1
        records[number] = DocumentRecord(
            id=number,
            portfolio_id=portfolio_id,
            title=document.title,
            uri=document.uri,
            language="en",
            status="pending",
            error=None,
            text=document.text,
            metadata=document.metadata,
            chunk_count=0,
            created_at=NOW,
            updated_at=NOW,
        )
        return Accepted(number, "created", number)


class FakeHistory:
    def __init__(self) -> None:
        self.conversation = ConversationRecord(CONVERSATION, 1, "React?", NOW, NOW)
        self.messages = [
            MessageRecord(RUN, None, "user", "What is React?", "complete", [], NOW),
            MessageRecord(MESSAGE, RUN, "assistant", "A library [1].", "complete", [CITATION], NOW),
        ]
        self.deleted: list[UUID] = []

    async def list(
        self, caller: Scope | Claim, limit: int, after: str | None
    ) -> Page[ConversationRecord]:
        await known(caller)
        return page([self.conversation], limit, after)

    async def get(
        self, caller: Scope | Claim, conversation_id: UUID
    ) -> tuple[ConversationRecord, Sequence[MessageRecord]]:
        await known(caller)
        if conversation_id != CONVERSATION:
            raise NotFound
        return self.conversation, self.messages

    async def delete(self, scope: Scope, conversation_id: UUID) -> None:
        await self.get(scope, conversation_id)
        self.deleted.append(conversation_id)


class FakeRetriever:
    def __init__(self) -> None:
        self.asked: list[RetrievalRequest] = []

    async def retrieve(self, scope: Scope, request: RetrievalRequest) -> Retrieval:
        self.asked.append(request)
        return Retrieval([PASSAGE], {"vector": 1.0}, ["keyword"])


class FakeInvalidation:
    def __init__(self) -> None:
        self.raised: list[tuple[int | None, int | None]] = []

    async def raise_epoch(
        self, scope: Scope, agent_id: int | None, portfolio_id: int | None
    ) -> None:
        if agent_id == 99:
            raise NotFound
        self.raised.append((agent_id, portfolio_id))


class FakeCache:
    def __init__(self) -> None:
        self.dropped: list[str] = []

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        return [None for _ in keys]

    async def put(self, key: str, value: bytes, ttl_seconds: int, tags: Sequence[str]) -> None:
        pass

    async def drop(self, tag: str) -> int:
        self.dropped.append(tag)
        return 2

    def connections(self) -> Mapping[str, Mapping[str, int]]:
        return {}

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        layer = {"lookups": 8, "local_hits": 1, "shared_hits": 2, "puts": 3}
        return {
            **dict.fromkeys(("answers", "passages"), layer),
            "semantic": dict.fromkeys(layer, 0),
            "local": {"entries": 5, "bytes": 6, "limit_bytes": 7},
            "redis": {"state": "away", "refused": 1, "failed": 2, "skipped": 3},
        }


@dataclass(frozen=True)
class FakePerformance:
    """One process, alone."""

    monitor: PerformanceMonitor

    async def report(self) -> Mapping[str, Any]:
        return {"scope": "process", "processes": 1, "unreadable": 0, **self.monitor.report()}


class FakeDatabase:
    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        return {"questions": {"size": 10, "open": 2, "in_use": 1, "waiting": 0}}


class FakeCredentials:
    """Keys are roles: "owner", "admin" and "member" of tenant 1, "stranger" of tenant 2."""

    def __init__(self) -> None:
        self.looked_up = 0

    async def resolve(self, claim: Claim) -> Scope | None:
        self.looked_up += 1
        scopes = {
            b"owner": OWNER,
            b"admin": Scope(1, "admin", "admin"),
            b"member": Scope(1, "member", "member"),
            b"stranger": Scope(2),
        }
        return scopes.get(claim.key_digest or b"")

    async def resolve_all(self, claims: Sequence[Claim]) -> Sequence[Scope | None]:
        return [await self.resolve(claim) for claim in claims]

    def claim(self, key: str) -> Claim | None:
        return Claim(key.removeprefix(SESSION_PREFIX).partition(".")[0].encode())

    async def create(self, tenant: str, name: str) -> str:
        return "owner"

    async def owner_of(self, tenant: str, *, create: bool = False) -> Scope:
        return OWNER

    async def default_scope(self) -> Scope:
        return OWNER


class FakeSessions:
    """A session is the role that it was opened with, and a number: "cs_s_owner.1"."""

    def __init__(self) -> None:
        self.opened = 0

    async def open(self, claim: Claim) -> Opened | None:
        scope = await FakeCredentials().resolve(claim)
        if scope is None or claim.key_digest is None:
            return None
        self.opened += 1
        secret = f"{SESSION_PREFIX}{claim.key_digest.decode()}.{self.opened}"
        return Opened(secret, scope, NOW.replace(year=9000))

    async def close(self, scope: Scope, claim: Claim) -> None:
        pass

    async def holder(self, scope: Scope, claim: Claim | None) -> Holder:
        return Holder("default", {"admin": "Ada", "member": "Mel"}.get(scope.subject), None)


class FakeAudit:
    """The log in memory. `away` is a database that is not there; `holders` are those of keys that
    are no longer good."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.holders: dict[str, Scope] = {}
        self.away = False

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        if self.away:
            raise DatabaseUnavailable
        self.entries += entries

    async def list(
        self,
        scope: Scope,
        limit: int,
        after: str | None,
        subject: str | None = None,
        action: str | None = None,
    ) -> Page[AuditRecord]:
        found = [
            AuditRecord(**asdict(entry), id=number)
            for number, entry in enumerate(self.entries, start=1)
            if entry.tenant_id == scope.tenant_id
            and subject in (None, entry.subject)
            and action in (None, entry.action)
        ]
        return page(found[::-1], limit, after)

    async def holder_of(self, claim: Claim) -> Scope | None:
        return self.holders.get((claim.key_digest or b"").decode())


class FakeUsage:
    """One answer was asked of one model on one day."""

    async def daily(self, scope: Scope, days: int) -> Sequence[DayOfUse]:
        return [DayOfUse(NOW.date(), "user:1", "gpt-4o-mini", 1, 10, 5, 0.25)]


class FakeProviders:
    """Knows auto and extractive; the others are not configured."""

    def breakers(self) -> Mapping[str, str]:
        return {"extractive": "closed", "openai": "half open"}

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        return {"openai": {"size": 9, "open": 3, "acquired": 7}}

    def for_agent(self, agent: Agent) -> Provider:
        self.check(agent, own_key=False)
        return cast(Provider, object())

    def check(self, agent: Agent, *, own_key: bool) -> None:
        if agent.provider not in ("auto", "extractive") and not own_key:
            raise InvalidInput(f"The provider `{agent.provider}` is not configured.")


class FakeEncoders:
    """Four vectors of each origin; the main encoder is there, the next one is not."""

    def statistics(self) -> Mapping[str, int]:
        return dict.fromkeys(("local_hits", "shared_hits", "joined", "encoded"), 4)

    def connections(self) -> Mapping[str, Mapping[str, int]]:
        return {"main": {"open": 1, "in_use": 0, "acquired": 8, "opened": 1}}

    def availability(self) -> Mapping[str, bool]:
        return {"main": True, "next": False}


@dataclass
class World:
    """Everything behind one application, for a test to set up and look at."""

    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    agents: FakeAgents = field(default_factory=FakeAgents)
    portfolios: FakePortfolios = field(default_factory=FakePortfolios)
    users: FakeUsers = field(default_factory=FakeUsers)
    documents: FakeDocuments = field(default_factory=FakeDocuments)
    history: FakeHistory = field(default_factory=FakeHistory)
    retriever: FakeRetriever = field(default_factory=FakeRetriever)
    invalidation: FakeInvalidation = field(default_factory=FakeInvalidation)
    cache: FakeCache = field(default_factory=FakeCache)
    audit: FakeAudit = field(default_factory=FakeAudit)
    dependencies: dict[str, str] = field(default_factory=lambda: {"postgres": "ok"})
    credentials: FakeCredentials = field(default_factory=FakeCredentials)
    revocation: Revocation = field(
        default_factory=lambda: Revocation(FakeCredentials().resolve_all)
    )
    anonymous_owner: bool = True
    secure_cookies: bool = False
    streaming: bool = True
    max_request_bytes: int = 1024 * 1024

    async def readiness(self) -> Mapping[str, str]:
        return self.dependencies

    @asynccontextmanager
    async def services(self) -> AsyncIterator[Services]:
        await self.agents.create(OWNER, AGENT)
        await self.portfolios.create(OWNER, {"name": "sample", "description": ""})
        monitor = PerformanceMonitor(time.perf_counter)
        async with Journal(self.audit).running() as journal:
            yield Services(
                engine=self.engine,
                agents=self.agents,
                portfolios=self.portfolios,
                history=self.history,
                documents=cast(Documents, self.documents),
                ingestor=cast(Ingestor, FakeIngestor(self.documents, self.portfolios)),
                reader=FakeReader(),
                retriever=self.retriever,
                invalidation=self.invalidation,
                cache=self.cache,
                audit=self.audit,
                journal=journal,
                database=FakeDatabase(),
                credentials=self.credentials,
                tokens=Tokens(()),
                users=self.users,
                keys=cast(Keys, object()),
                sessions=FakeSessions(),
                revocation=self.revocation,
                pages=Pages(Guard(), self.max_request_bytes),
                providers=FakeProviders(),
                encoders=FakeEncoders(),
                monitor=monitor,
                performance=FakePerformance(monitor),
                anonymous_owner=self.anonymous_owner,
                secure_cookies=self.secure_cookies,
                streaming=self.streaming,
                max_request_bytes=self.max_request_bytes,
                max_top_k=50,
                readiness=self.readiness,
                usage=FakeUsage(),
            )

    def app(self) -> FastAPI:
        return create_app(self.services)


AGENT: dict[str, Any] = {
    "name": "default",
    "description": "",
    "system_prompt": "",
    "provider": "auto",
    "model": None,
    "portfolio_id": 1,
    "persona_portfolio_id": None,
    "fallback_provider": None,
    "fallback_model": None,
    "semantic_threshold": None,
    "top_k": 15,
    "max_tokens": 6000,
    "temperature": 0.2,
}


@asynccontextmanager
async def client_of(world: World, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application in this process, with its lifespan."""
    app = world.app()
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(
            transport=transport, base_url=LOCAL, headers=headers
        ) as client:
            yield client
