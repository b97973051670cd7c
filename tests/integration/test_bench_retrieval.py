"""The retrieval bench runs, at a hundredth of its size, and measures what it says."""

from pathlib import Path

import orjson

from app.bench.corpus import CHUNKS, PORTFOLIOS, sizes
from app.bench.registry import chosen
from app.commands.bench import Options, run_benches


def test_the_full_corpus_and_smaller_ones() -> None:
    assert CHUNKS == 300_000
    assert sorted(set(sizes(CHUNKS))) == sorted(PORTFOLIOS)
    small = sizes(3_000)
    assert (max(small), min(small)) == (1_000, 100)


async def test_a_small_corpus_by_a_profile(tmp_path: Path) -> None:
    lines: list[str] = []
    output, config = tmp_path / "figures.json", tmp_path / "exact.yaml"
    config.write_text("retrieval: {exact_below_chunks: 900, hnsw_ef_search: 100}")
    await run_benches(chosen(["retrieval"]), Options(2, 3_000, output, None, config), lines.append)
    (bench,) = orjson.loads(output.read_bytes())["benches"]
    figures = {each["name"]: each for each in bench["figures"]}
    recall = [each for name, each in figures.items() if "recall@10" in name]
    assert len(recall) >= 8
    assert all(each["reached"] and len(each["values"]) == 2 for each in recall)
    assert figures["searches with other than min(k, matching) rows"]["reached"]
    assert "indexes of 100,000 chunks: made in, one process" in figures
    assert any("side by side" in line for line in lines)
    assert any(line.startswith("1 indexes of 1,000 chunks") for line in lines)
