"""What is asked of retrieval at its edges, over sockets: an answer or a clear 4xx."""

from typing import Any

import pytest

from tests.support.live import Live, unique

TEXTS = {
    "Atlas": "Atlas is the map project. It was finished in 2021 by Ana Ruiz.",
    "Faro": "Faro es el proyecto del puerto. Lo dirige Marta Gil desde 2019.",
    "Signs": "!!! ??? --- *** 🙂🚀",
}


@pytest.fixture(scope="module")
async def portfolio(live: Live) -> int:
    return await live.portfolio(unique("edges"), **TEXTS)


@pytest.mark.parametrize(
    ("body", "least"),
    [
        ({"top_k": 100}, 3),  # beyond the portfolio
        ({"query": "the of and is"}, 1),  # stop words only
        ({"query": "el de la que"}, 1),
        ({"query": "word " * 1600}, 1),  # 8,000 characters
        ({"query": "Ä" * 8000}, 1),
        ({"query": "Кто закончил проект Atlas?"}, 1),  # no configuration for its language
        ({"query": "アトラスは誰が完成させましたか"}, 1),
        ({"query": "' OR 'a'='a\\"}, 1),
        ({"query": "🙂"}, 1),
        ({"filters": {"nobody": "has"}}, 0),
        ({"sources": ["graph"]}, 1),
        ({"sources": ["domain"]}, 0),
        ({"sources": ["persona"]}, 0),
    ],
    ids=str,
)
async def test_an_answer(live: Live, portfolio: int, body: dict[str, Any], least: int) -> None:
    asked = {"query": "Who finished Atlas?", "portfolio_id": portfolio, **body}
    found = await live.json("POST", "/api/retrieve", json=asked)
    assert len(found["passages"]) >= least
    assert found["degraded"] == []
    assert [each["number"] for each in found["passages"]] == [*range(1, len(found["passages"]) + 1)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"top_k": 0}, 422),
        ({"top_k": 10**6}, 422),
        ({"query": ""}, 422),
        ({"query": "x" * 8001}, 422),
        ({"sources": []}, 422),
        ({"sources": ["nowhere"]}, 422),
        ({"filters": {"a": [1]}}, 422),
        ({"portfolio_id": 10**9}, 404),
    ],
    ids=str,
)
async def test_a_clear_refusal(
    live: Live, portfolio: int, body: dict[str, Any], status: int
) -> None:
    asked = {"query": "Who finished Atlas?", "portfolio_id": portfolio, **body}
    response = await live.http.post("/api/retrieve", json=asked)
    assert response.status_code == status
    assert response.json()["detail"]


async def test_an_empty_portfolio_has_nothing(live: Live) -> None:
    empty = await live.portfolio(unique("empty"))
    asked = {"query": "Who finished Atlas?", "portfolio_id": empty}
    found = await live.json("POST", "/api/retrieve", json=asked)
    assert (found["passages"], found["degraded"]) == ([], [])
