"""The monitor's bench runs and measures what it says; how fast it is, is the bench's to say."""

from app.bench.monitor import bench_monitor


async def test_one_round() -> None:
    figures = {each.name: each for each in await bench_monitor(1, lambda _: None)}
    assert len([each for each in figures.values() if each.limit is not None]) == 6
    assert all(value > 0 for each in figures.values() for value in each.values)
    assert figures["memory of 10,000 operations"].reached
