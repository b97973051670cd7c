"""Names in Postgres: what a question's neighbourhood holds, and that nothing outlives its chunk."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.embedded import Servers
from app.errors import NotFound
from app.ingest.ports import NewDocument
from app.retrieval.graph import candidate_keys
from app.retrieval.sources.graph import GraphSource
from app.stores import migrate
from app.stores.database import Database
from app.stores.graph import PgGraph
from app.stores.prepare import prepare
from tests.support.pg_stores import DIMENSION, ENCODER, Stores

COUNT = "SELECT count(*) FROM rag_mention WHERE portfolio_id = $1"


@pytest.fixture
def graph(stores: Stores) -> PgGraph:
    return stores.graph


async def found(
    graph: PgGraph, scope: Scope, portfolio: int, question: str, **changes: object
) -> list[str]:
    """The texts that the source finds for a question."""
    request = RetrievalRequest(question, portfolio, 20, "en")
    hits = await GraphSource(graph).search(scope, replace(request, **changes))
    return [hit.text for hit in hits]


@pytest.fixture
async def library(stores: Stores, scope: Scope) -> int:
    """Atlas leads to Pebble, Pebble to Tobias; Borea to nothing. Each in a document of its own."""
    portfolio = (await stores.portfolio(scope)).id
    for text, kind in (
        ("Atlas reuses Pebble", "product"),
        ("Pebble was made by Tobias", "part"),
        ("Tobias likes Jazz", "person"),
        ("Borea is alone", "product"),
        ("nothing has a name here", "product"),
    ):
        await stores.add(scope, portfolio, NewDocument(text, text, text, {"kind": kind}))
    return portfolio


async def test_two_hops_from_a_name_in_any_case(graph: PgGraph, scope: Scope, library: int) -> None:
    for question in ("What about Atlas?", "what about atlas", "ÁTLAS"):
        texts = await found(graph, scope, library, question)
        assert texts == ["Atlas reuses Pebble", "Pebble was made by Tobias"]


async def test_a_question_between_two_names_finds_what_connects_them(
    graph: PgGraph, scope: Scope, library: int
) -> None:
    texts = await found(graph, scope, library, "How are Atlas and Tobias connected?")
    assert set(texts[:3]) == {
        "Atlas reuses Pebble", "Pebble was made by Tobias", "Tobias likes Jazz"
    }  # fmt: skip


@pytest.mark.parametrize(
    "question", ["what is there", "", "¿?", "x" * 8000, "word " * 1600, "A" * 900, "' OR 'a'='a"]
)
async def test_a_question_without_a_known_name_has_no_hits(
    graph: PgGraph, scope: Scope, library: int, question: str
) -> None:
    assert await found(graph, scope, library, question) == []


async def test_a_name_in_a_question_of_8000_characters(
    graph: PgGraph, scope: Scope, library: int
) -> None:
    assert await found(graph, scope, library, "Borea? " + "and why " * 999) == ["Borea is alone"]


async def test_filters_hold_for_every_step(graph: PgGraph, scope: Scope, library: int) -> None:
    async def of(kind: str, question: str = "Atlas") -> list[str]:
        return await found(graph, scope, library, question, filters={"kind": kind})

    assert await of("product") == ["Atlas reuses Pebble"]
    assert await of("part") == []  # the way there leads through a product
    assert await of("part", "Pebble") == ["Pebble was made by Tobias"]
    assert await of("none") == []
    assert await of("' OR 'a'='a") == []


async def test_a_limit_keeps_the_best(graph: PgGraph, scope: Scope, library: int) -> None:
    assert await found(graph, scope, library, "Atlas", top_k=1) == ["Atlas reuses Pebble"]


async def test_a_name_in_every_chunk_leads_nowhere(
    stores: Stores, graph: PgGraph, scope: Scope
) -> None:
    portfolio = (await stores.portfolio(scope)).id
    lines = [f"Acme has Part{number}" for number in range(40)]
    await stores.add(scope, portfolio, NewDocument("all", "\n".join(lines), "all"))
    assert await found(graph, scope, portfolio, "What is Acme?") == []
    assert await found(graph, scope, portfolio, "Acme and Part7?") == ["Acme has Part7"]


async def test_a_neighbourhood_is_bounded(stores: Stores, graph: PgGraph, scope: Scope) -> None:
    """1,000 chunks, of which 100 have the name asked for and ten names more each."""
    portfolio = (await stores.portfolio(scope)).id
    lines = [
        " ".join(["Hub" if n % 10 == 0 else "Other", *(f"N{(n * 7 + k * 13) % 500}"
                                                        for k in range(10))])
        for n in range(1000)
    ]  # fmt: skip
    await stores.add(scope, portfolio, NewDocument("many", "\n".join(lines), "many"))
    links = await graph.neighbourhood(scope, portfolio, ["hub"], {})
    [asked] = [link for link in links if link.asked]
    assert asked.key == "hub"
    assert len(asked.chunks) == 64
    others = [link for link in links if not link.asked]
    assert 0 < len(others) <= 128
    assert all(2 <= len(link.chunks) <= 24 for link in others)


async def test_a_hit_is_the_chunk_and_its_document(
    stores: Stores, graph: PgGraph, scope: Scope
) -> None:
    portfolio = (await stores.portfolio(scope)).id
    text = "¡Hola! 🙂\nUn plano de Bogotá"
    document = await stores.add(scope, portfolio, NewDocument("Mapa", text, "mapa.md"))
    request = RetrievalRequest("¿bogota?", portfolio, 5, "es")
    [hit] = await GraphSource(graph).search(scope, request)
    assert (hit.document_id, hit.title, hit.uri, hit.ordinal) == (document, "Mapa", "mapa.md", 1)
    assert text[hit.start : hit.end] == hit.text


async def rows(stores: Stores, portfolio: int) -> int:
    [row] = await stores.behind(COUNT, portfolio)
    return int(row["count"])


async def test_names_go_with_their_document_and_portfolio(
    stores: Stores, graph: PgGraph, scope: Scope
) -> None:
    portfolio = (await stores.portfolio(scope)).id
    text = "Atlas reuses Pebble\nBorea is alone"
    document = await stores.add(scope, portfolio, NewDocument("d", text, "d"))
    assert await rows(stores, portfolio) == 3
    await stores.add(scope, portfolio, NewDocument("d", "Cartas", "d"))
    assert await rows(stores, portfolio) == 1
    assert await found(graph, scope, portfolio, "Atlas") == []
    await stores.documents.delete(scope, document)
    assert await rows(stores, portfolio) == 0
    await stores.add(scope, portfolio, NewDocument("d", text, "d"))
    await stores.portfolios.delete(scope, portfolio)
    assert await rows(stores, portfolio) == 0


async def test_another_tenants_names_and_chunks_are_out_of_reach(
    stores: Stores, graph: PgGraph, scope: Scope, library: int
) -> None:
    stranger = await stores.tenant()
    ids = [row["chunk_id"] for row in await stores.behind(
        "SELECT chunk_id FROM rag_mention WHERE portfolio_id = $1", library)]  # fmt: skip
    for portfolio in (library, 2**63, 2**100, -1):
        with pytest.raises(NotFound):
            await graph.neighbourhood(stranger, portfolio, ["atlas"], {})
    assert await graph.hits(stranger, dict.fromkeys(ids, 1.0)) == []
    assert len(await graph.hits(scope, dict.fromkeys(ids, 1.0))) == 4


async def test_chunks_of_another_portfolio_are_out_of_reach(
    stores: Stores, graph: PgGraph, scope: Scope, library: int
) -> None:
    other = (await stores.portfolio(scope)).id
    await stores.add(scope, other, NewDocument("x", "Atlas elsewhere knows Pebble", "x"))
    assert await found(graph, scope, other, "Atlas") == ["Atlas elsewhere knows Pebble"]
    assert "Atlas elsewhere knows Pebble" not in await found(graph, scope, library, "Atlas")


async def test_a_chunk_without_names_and_a_document_of_many(
    stores: Stores, graph: PgGraph, scope: Scope
) -> None:
    portfolio = (await stores.portfolio(scope)).id
    lines: Sequence[str] = [f"line {n}" if n % 2 else f"Line Odd{n}" for n in range(450)]
    await stores.add(scope, portfolio, NewDocument("d", "\n".join(lines), "d"))
    assert await rows(stores, portfolio) == 450
    for n in (0, 200, 398, 400, 448):  # in each of the statements it was stored with
        assert await found(graph, scope, portfolio, f"odd{n}") == [f"Line Odd{n}"]
    assert candidate_keys("odd0") == ["odd0"]


async def test_the_migration_finds_the_names_of_what_was_indexed_before(
    fresh_database: Callable[[], Awaitable[Servers]], superuser_url: str
) -> None:
    servers = await fresh_database()
    await migrate.upgrade(servers.owner_url)
    await prepare(servers.owner_url, ENCODER, DIMENSION)
    database = await Database.open(servers.app_url)
    name = servers.app_url.partition("?")[0].rpartition("/")[2]
    stores = Stores(database, superuser_url.replace("/citestream?", f"/{name}?", 1))
    try:
        for _ in range(2):  # tenants
            scope = await stores.tenant()
            portfolio = (await stores.portfolio(scope)).id
            text = "We met Atlas\nand we met the Pebble system"
            await stores.add(scope, portfolio, NewDocument("none", text, "x"))
    finally:
        await database.close()
    await migrate.downgrade(servers.owner_url, "0008")
    await migrate.upgrade(servers.owner_url)
    found = await stores.behind(
        "SELECT m.tenant_id, c.text, array_agg(m.key ORDER BY m.key) AS keys FROM rag_mention m "
        "JOIN rag_chunk c ON c.id = m.chunk_id AND c.portfolio_id = m.portfolio_id "
        "AND c.tenant_id = m.tenant_id GROUP BY 1, c.ordinal, 2 ORDER BY 1, c.ordinal"
    )
    assert [(row["text"], row["keys"]) for row in found] == [
        ("We met Atlas", ["atlas", "none"]),
        ("and we met the Pebble system", ["none", "pebble"]),
    ] * 2
