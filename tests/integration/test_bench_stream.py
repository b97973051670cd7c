"""`citestream bench stream` runs, with a few readers, and measures what it says."""

from app.bench.stream import bench_stream


async def test_readers_of_a_run_beside_sockets() -> None:
    lines: list[str] = []
    figures = await bench_stream(1, lines.append, readers=20)
    names = [each.name for each in figures]
    assert names[1] == "a run with 20 readers, beyond that"
    assert figures[0].median > 0 and figures[1].limit == 3.0
    assert figures[0].yardstick and not figures[1].yardstick
    assert figures[-1].values == [0]  # each token was measured by itself
    assert len(lines) == 1
