"""`citestream eval` as a user starts it, on small data sets of the test's own."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.command import environment, output_of
from tests.support.encoder import encoder_process
from tests.support.forking import Output

ANIMALS = {
    "River_otters": ("The otter sleeps on its back and holds hands.", "How do otters sleep?"),
    "Herons": ("A heron waits in shallow water for fish.", "Where does the heron wait for fish?"),
    "Badgers": ("The badger digs a sett with many rooms.", "What does the badger dig?"),
    "Owls": ("An owl turns its head to look behind.", "Which bird, an owl, turns its head?"),
}


@pytest.fixture(scope="module")
def data(server_folder: Path) -> Iterator[Path]:
    yield server_folder / "eval"


@pytest.fixture(scope="module")
async def env(data: Path, onnx: tuple[str, ...]) -> AsyncIterator[dict[str, str]]:
    """One encoder serves every run: what is measured here is not how one starts."""
    async with encoder_process(*onnx) as (_, url):
        yield environment(data, CITESTREAM_ENCODER__URL=url)


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    file = tmp_path / "animals.json"
    passages = [
        {"id": f"{title}#0", "title": title, "text": text} for title, (text, _) in ANIMALS.items()
    ]
    questions = [
        {"id": f"q-{title}", "question": question, "passage_id": f"{title}#0", "answer": ""}
        for title, (_, question) in ANIMALS.items()
    ]
    file.write_text(json.dumps({"passages": passages, "questions": questions}))
    return file


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "zoo"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": title, "title": "", "text": text} for title, (text, _) in ANIMALS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps(each) for each in corpus))
    query = {"_id": "q1", "text": ANIMALS["Herons"][1]}
    (folder / "queries.jsonl").write_text(json.dumps(query))
    qrels = "query-id\tcorpus-id\tscore\nq1\tHerons\t2\nq1\tgone\t1\n"
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


async def test_squads_form_twice_and_indexed_once(
    data: Path, env: dict[str, str], forked: Output, squad: Path, tmp_path: Path
) -> None:
    output, html = tmp_path / "results.json", tmp_path / "report.html"
    arguments = ("eval", str(squad), "--data", str(data), "--output", str(output))
    status, printed = await output_of(*arguments, "--html", str(html), env=env)
    assert status == 0, printed
    for word in ("fused", "vector", "keyword", "nDCG@10", "MRR@10", "recall@5", "p95"):
        assert word in printed
    results = json.loads(output.read_text())
    assert results["quality"]["keyword"]["ndcg@10"] == 1.0
    assert results["quality"]["fused"]["recall@10"] == 1.0
    assert results["quality"]["fused"]["degraded"] == 0
    assert results["facts"]["indexed_now"] == 4
    assert "<svg" in html.read_text()
    status, printed = await forked(*arguments, "--limit", "2", env=env)
    assert status == 0, printed
    again = json.loads(output.read_text())
    assert again["facts"]["indexed_now"] == 0
    assert again["facts"]["portfolio"] == results["facts"]["portfolio"]
    assert len(again["questions"]) == 2


async def test_beirs_form_with_options_before_the_data_set(
    data: Path, env: dict[str, str], forked: Output, beir: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results.json"
    options = ("--sources", "keyword,vector", "--k", "1,3", "--portfolio", "mine")
    where = ("--data", str(data), "--output", str(output), "--language", "en")
    status, printed = await forked("eval", *options, *where, str(beir), env=env)
    assert status == 0, printed
    assert "Relevant documents that are not in the corpus: 1" in printed
    results = json.loads(output.read_text())
    assert list(results["quality"]) == ["fused", "keyword", "vector"]
    assert results["quality"]["keyword"]["recall@1"] == 0.5
    # Grade 2 first, and the other one never: 2 / (2 + 1 / log2(3))
    assert results["quality"]["keyword"]["ndcg@10"] == pytest.approx(0.7601875334)
    assert results["facts"]["portfolio"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["retrieval", "nothing.json"], "nothing.json does not exist"),
        (["{squad}", "--sources", "memory"], "'memory' is not a source that is on"),
        (["{squad}", "--k", "0"], "--k takes whole numbers from 1 to 100"),
        (["{squad}", "--language", "klingon"], "'klingon' is not a language's code"),
        (["{squad}", "--html", "no/folder/report.html"], "cannot be written"),
    ],
)
async def test_what_cannot_be_is_one_sentence_before_anything_starts(
    forked: Output, squad: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    given = [each.replace("{squad}", str(squad)) for each in arguments]
    unused = tmp_path / "unused"
    env = environment(unused)
    status, printed = await forked("eval", *given, "--data", str(unused), env=env)
    assert status == 1
    assert says in printed
    assert len(printed.splitlines()) == 1
    assert not unused.exists()
