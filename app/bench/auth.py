"""`citestream bench auth`: what it adds to a request that somebody has to be recognised.

The same two requests, for a cached answer and for an agent, without a credential, as a server on
loopback takes them, and with each kind of one: an API key, a token (JWT) of one's own issuer that
was checked before and one that is new, and the page's session. One client asks with all of them, in
turns of some of each, in an order of chance. What is added is told from the requests of a turn,
which takes less than half a second: between them a machine's pace changes by more than what is
looked for.
"""

import itertools
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median

from app.api.auth import COOKIE, CSRF_HEADER, csrf_token
from app.bench.figures import Figure
from app.bench.installation import OURS, SHORT, Installation
from app.bench.messages import get, post
from app.chat.model import Claim
from app.errors import Unauthorized
from app.identity.claims import Names
from app.identity.issuing import issue
from app.stores.sessions import PgSessions
from app.stores.tenants import digest_of
from app.stores.users import PgUsers

TURN = 10  # requests of each kind
ADDED_MS = 0.15
SECRET = "of this bench only, 32 characters"  # noqa: S105
VARIABLES = {"CITESTREAM_AUTH__SECRET": SECRET}
ISSUER = AUDIENCE = "citestream"
EMAIL = "bench@example.com"
HOUR = 3600

NONE, KEY, TOKEN, NEW, SESSION = "none", "key", "token", "new", "session"
NAMES = {
    KEY: "an API key",
    TOKEN: "a token (JWT)",
    NEW: "a token (JWT) not seen before",
    SESSION: "the page's session",
}
ANSWER, AGENT = "cached answer", "an agent's settings"
MARKS = {ANSWER: '"cached":true', AGENT: '"id":'}

# The lines of a head that present a credential: each time the same, or each time others.
Lines = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked: `requests` of each kind in each round, a multiple of TURN."""

    requests: int = 800


@dataclass(slots=True)
class Measured:
    """Milliseconds by what is asked for and by credential, for each round the medians of its turns.
    Those of one place in the lists were taken one after the other."""

    rounds: list[dict[tuple[str, str], list[float]]] = field(default_factory=list)

    def medians(self, what: str, kind: str) -> list[float]:
        return [median(turns[what, kind]) for turns in self.rounds]

    def added(self, what: str, kind: str) -> list[float]:
        """By each round, to the same without a credential: the median over its turns."""
        return [
            median(
                one - other for one, other in zip(turns[what, kind], turns[what, NONE], strict=True)
            )
            for turns in self.rounds
        ]


async def bench_auth(
    running: Installation, say: Callable[[str], None], rounds: int, load: Load
) -> list[Figure]:
    """The service must have been started with VARIABLES. Raises WorkerFailed."""
    kinds, bare = await _credentials(running), await _requests(running)
    for what, kind in itertools.product(bare, kinds):  # a cached answer is one from now on
        await _ask(running, what, [_with(bare[what], kinds[kind]())])
    measured, wrong = Measured(), running.wrong
    for number in range(rounds + 1):
        turns = await _round(running, bare, kinds, load)
        if number:  # the first warms everything up
            measured.rounds.append(turns)
            told = (f"{kind} {median(turns[ANSWER, kind]):.2f} ms" for kind in kinds)
            say(f"round {number} of {rounds}: {', '.join(told)}")
    return figures(measured, running.wrong - wrong)


def figures(measured: Measured, wrong: int) -> list[Figure]:
    """`wrong` is how many answers were not what was asked for."""
    made = []
    for what in MARKS:
        without = measured.medians(what, NONE)
        made.append(Figure(f"{what} without a credential: p50", "ms", without))
        for kind, name in NAMES.items():
            added = measured.added(what, kind)
            limit = None if kind == NEW else ADDED_MS
            made.append(Figure(f"{what}, {name} adds: p50", "ms", added, limit))
    return [*made, Figure("answers that were not cached, or not whole", "", [wrong], 0)]


async def _round(
    running: Installation, bare: Mapping[str, str], kinds: Mapping[str, Lines], load: Load
) -> dict[tuple[str, str], list[float]]:
    turns: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(load.requests // TURN):
        for what in random.sample(list(bare), len(bare)):
            order = random.sample([*kinds] * TURN, TURN * len(kinds))
            times = await _ask(running, what, [_with(bare[what], kinds[kind]()) for kind in order])
            for kind in kinds:
                own = [each for each, of in zip(times, order, strict=True) if of == kind]
                turns[what, kind].append(median(own))
    return turns


async def _ask(running: Installation, what: str, requests: list[str]) -> list[float]:
    heard = await running.ask(OURS, requests, 1, expected=MARKS[what])
    return [each * 1000 for each in heard["whole"]]


async def _requests(running: Installation) -> dict[str, str]:
    """What is asked, without a credential."""
    agent, [question] = await running.site.agents.of_model(SHORT), running.questions(1)
    return {
        ANSWER: post(f"/api/agents/{agent}/chat", {"message": question}),
        AGENT: get(f"/api/agents/{agent}"),
    }


async def _credentials(running: Installation) -> dict[str, Lines]:
    """One of each kind, all of them of owners of the tenant."""
    agents = running.site.agents
    await PgUsers(agents.database).create(
        agents.library.scope, {"email": EMAIL, "name": "bench", "role": "owner"}
    )
    opened = await PgSessions(agents.database, 1).open(Claim(digest_of(agents.key)))
    if opened is None:
        raise Unauthorized
    session, token, new = opened.secret, _token(HOUR), _tokens()
    cookie = f"Cookie: {COOKIE}={session}\r\n{CSRF_HEADER}: {csrf_token(session)}\r\n"
    return {
        NONE: lambda: "",
        KEY: lambda: _bearer(agents.key),
        TOKEN: lambda: _bearer(token),
        NEW: lambda: _bearer(next(new)),
        SESSION: lambda: cookie,
    }


def _tokens() -> Iterator[str]:
    """Each of them another one: it is good for a second longer."""
    return (_token(HOUR + number) for number in itertools.count(1))


def _token(seconds: int) -> str:
    return issue(
        SECRET,
        EMAIL,
        None,
        issuer=ISSUER,
        audience=AUDIENCE,
        names=Names(),
        now=int(time.time()),
        seconds=seconds,
    )


def _bearer(credential: str) -> str:
    return f"Authorization: Bearer {credential}\r\n"


def _with(request: str, lines: str) -> str:
    """The request with some more lines in its head."""
    head, end, body = request.partition("\r\n\r\n")
    return f"{head}\r\n{lines}{end[2:]}{body}"
