"""The retrieval bench runs, at a hundredth of its size, and measures what it says."""

from pathlib import Path

import orjson

from app.bench.corpus import CHUNKS, PORTFOLIOS, sizes
from app.commands.bench import run_retrieval_bench


def test_the_full_corpus_and_smaller_ones() -> None:
    assert CHUNKS == 300_000
    assert sorted(set(sizes(CHUNKS))) == sorted(PORTFOLIOS)
    small = sizes(3_000)
    assert (max(small), min(small)) == (1_000, 100)


async def test_a_small_corpus(tmp_path: Path) -> None:
    lines: list[str] = []
    output = tmp_path / "figures.json"
    await run_retrieval_bench(3_000, output, lines.append)
    figures = {each["name"]: each for each in orjson.loads(output.read_bytes())["figures"]}
    recall = [each for name, each in figures.items() if "recall@10" in name]
    assert len(recall) >= 8
    assert all(each["reached"] for each in recall)
    assert figures["searches with other than min(k, matching) rows"]["reached"]
    assert "indexes of 100,000 chunks: made in, one process" in figures
    assert any("side by side" in line for line in lines)
