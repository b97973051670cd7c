"""Asking a data set's questions, and what is made of the answers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

from app.chat.model import Passage, Scope
from app.chat.ports import Retrieval, RetrievalRequest
from app.evaluation.asking import FUSED, Asked, Plan, ask, documents
from app.evaluation.dataset import Query
from app.evaluation.loading import Loaded
from app.evaluation.page import page
from app.evaluation.report import Report, summarise
from app.evaluation.svg import Bar, bars, lines

SCOPE = Scope(1)
LOADED = Loaded(7, {1: "one", 2: "two", 3: "three"}, 0)


def passage(document_id: int) -> Passage:
    return Passage(1, 1, document_id, "title", None, "text", 0, 4, 1.0)


@dataclass
class Answers:
    """A retriever that has these documents by source, and by None for all of them."""

    by_source: dict[str | None, Sequence[int]]
    degraded: Sequence[str] = ()
    requests: list[RetrievalRequest] = field(default_factory=list)

    async def retrieve(self, scope: Scope, request: RetrievalRequest) -> Retrieval:
        self.requests.append(request)
        source = request.sources[0] if request.sources else None
        passages = [passage(each) for each in self.by_source[source]]
        return Retrieval(passages, {"vector": 2.0, "fuse": 1.0}, self.degraded)


async def asked(answers: Answers, queries: Sequence[Query], plan: Plan) -> list[Asked]:
    return [each async for each in ask(answers, SCOPE, LOADED, queries, plan)]


def test_a_document_counts_once_at_its_best_rank() -> None:
    passages = [passage(each) for each in (2, 2, 1, 2, 3)]
    assert documents(passages, LOADED.ids, None) == ["two", "one", "three"]


def test_a_document_of_somebody_else_keeps_its_rank() -> None:
    ranking = documents([passage(9), passage(1)], LOADED.ids, None)
    assert ranking.index("one") == 1


def test_the_question_itself_is_not_found() -> None:
    assert documents([passage(1), passage(2)], LOADED.ids, "one") == ["two"]


async def test_fused_is_asked_first_and_then_each_source_alone() -> None:
    answers = Answers({None: [1], "vector": [2], "keyword": [3]})
    plan = Plan(["vector", "keyword"], None, 20)
    result = await asked(answers, [Query("q", "¿Quién nada en el río?", {"one": 1})], plan)
    assert [request.sources for request in answers.requests] == [None, ["vector"], ["keyword"]]
    assert {request.language for request in answers.requests} == {"es"}
    assert {request.top_k for request in answers.requests} == {20}
    assert result[0].rankings == {FUSED: ["one"], "vector": ["two"], "keyword": ["three"]}
    assert set(result[0].timings_ms) == {"vector", "fuse", "total"}


async def test_a_declared_language_is_everyones() -> None:
    answers = Answers({None: [1], "vector": [1]})
    await asked(answers, [Query("q", "¿Quién?", {"one": 1})], Plan(["vector"], None, 20, "fr"))
    assert {request.language for request in answers.requests} == {"fr"}


async def measured(degraded: Sequence[str] = ()) -> Report:
    answers = Answers({None: [2, 1], "vector": [1], "keyword": []}, degraded)
    queries = [
        Query("q1", "Who swims?", {"one": 2, "three": 1}),
        Query("q2", "Who is <b>bold</b> & flies?", {"three": 1}),
    ]
    plan = Plan(["vector", "keyword"], None, 20, "en")
    return summarise("animals", await asked(answers, queries, plan), [1, 2], {"documents": 3}, [])


async def test_means_over_the_questions() -> None:
    report = await measured(["keyword"])
    fused, vector = report.qualities[FUSED], report.qualities["vector"]
    assert fused.mrr == 0.25  # 1/2 and nothing
    assert [fused.recall[k] for k in (1, 2)] == [0.0, 0.25]
    assert vector.recall[1] == 0.25
    assert (fused.degraded, fused.silent, report.qualities["keyword"].silent) == (2, 0, 2)
    assert (report.stages["fuse"].p50, report.stages["vector"].p95) == (1.0, 2.0)
    assert list(report.stages)[-1] == "total"
    assert report.facts == {"documents": 3, "questions": 2, "languages": "en 2"}


async def test_the_fields_of_the_file() -> None:
    fields = (await measured()).fields()
    assert set(fields["quality"][FUSED]) == {
        "ndcg@10", "mrr@10", "recall@1", "recall@2", "degraded", "silent"
    }  # fmt: skip
    assert fields["questions"][0] == {
        "id": "q1",
        "language": "en",
        "first_relevant": {FUSED: 2, "vector": 1, "keyword": None},
    }


async def test_the_page_needs_nothing_else_and_escapes_what_it_shows() -> None:
    html = page(await measured())
    assert "<script" not in html
    assert not re.search(r"(?:src|href|url)\s*[=(]", html)
    assert "Who is &lt;b&gt;bold&lt;/b&gt; &amp; flies?" in html
    assert "prefers-color-scheme: dark" in html
    plots = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert [ElementTree.fromstring(plot).tag for plot in plots] == ["svg"] * 3


def test_bars_are_in_proportion() -> None:
    plot = ElementTree.fromstring(bars("Two & two", [Bar("a", 1, "1"), Bar("b", 2, "2", 3)], 4))
    first, second = (float(each.attrib["width"]) for each in plot.iter("rect"))
    assert abs(second - 2 * first) < 0.2
    assert plot.attrib["aria-label"] == "Two & two"


def test_a_line_of_one_point_and_values_all_at_the_top() -> None:
    plot = ElementTree.fromstring(lines("Recall", {"a": [1.0], "b": [0.9]}, 0.9))
    assert len(list(plot.iter("polyline"))) == 2
