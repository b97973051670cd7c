"""What the semantic cache may do as shipped, on the labelled pairs, by the real encoder."""

import asyncio
from pathlib import Path

from app.encoder.client import EncoderClient
from app.evaluation.pairs import compare, false_hit_rate, hit_rate, read_pairs, wilson
from app.settings.sections import CacheSettings

PAIRS = Path(__file__).resolve().parents[2] / "examples" / "question-pairs.jsonl"


async def test_no_false_hit_and_enough_hits_with_the_shipped_default(encoder_url: str) -> None:
    threshold = CacheSettings().semantic_threshold
    encoder = EncoderClient(encoder_url, api_key=None, model=None, timeout_seconds=30)
    try:
        await encoder.introduce()
        compared = await asyncio.gather(*(compare(encoder, pair) for pair in read_pairs(PAIRS)))
    finally:
        await encoder.aclose()
    wrong, found = false_hit_rate(compared, threshold), hit_rate(compared, threshold)
    assert (wrong.count, wrong.of >= 150) == (0, True)
    assert wrong.interval[1] < 0.03
    assert found.value >= 0.35
    # It is the guards that do it.
    assert false_hit_rate(compared, threshold, guarded=False).value > 0.2


def test_the_interval_is_wilsons() -> None:
    low, high = wilson(0, 153)
    assert (low, round(high, 4)) == (0.0, 0.0245)
    low, high = wilson(5, 10)
    assert (round(low, 4), round(high, 4)) == (0.2366, 0.7634)
