"""`citestream eval cache` as a user starts it."""

import json
from pathlib import Path

import pytest

from app.errors import InvalidInput
from app.evaluation.pairs import Pair, read_pairs
from tests.support.command import environment, output_of

PAIRS = [
    {"left": "Where is the office?", "right": "Where's the office?", "same": True},
    {"left": "Who led Atlas in 2023?", "right": "Who led Atlas in 2024?", "same": False},
    {
        "left": "¿Quién dirige Atlas?",
        "right": "¿Quién dirige <Zephyr>?",
        "same": False,
        "language": "es",
    },
]


async def test_rates_with_their_interval_the_curve_and_a_plot(
    server_folder: Path, encoder_url: str, tmp_path: Path
) -> None:
    file, output, html = tmp_path / "pairs.jsonl", tmp_path / "o.json", tmp_path / "o.html"
    file.write_text("\n".join(json.dumps(each) for each in PAIRS) + "\n\n")
    data = server_folder / "eval-cache"
    env = environment(data, CITESTREAM_ENCODER__URL=encoder_url)
    arguments = ("--data", str(data), "--output", str(output), "--html", str(html))
    status, printed = await output_of("eval", "cache", str(file), *arguments, env=env)
    assert status == 0, printed
    assert "hit rate 100.0 % (1 of 1; 95 %: 20.7 to 100.0 %)" in printed
    assert "false-hit rate 0.0 % (0 of 2; 95 %: 0.0 to 65.8 %)" in printed
    assert "0.95" in printed and "numbers" in printed
    figures = json.loads(output.read_text())
    assert (figures["hits"]["count"], figures["false_hits"]["count"]) == (1, 0)
    assert len(figures["curve"]["false, no guards"]) == len(figures["thresholds"])
    page = html.read_text()
    assert "<svg" in page and "<Zephyr>" not in page


def test_the_language_is_recognised_where_it_is_not_given(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"left": "¿Qué hay?", "right": "¿Qué  es?", "same": False}))
    assert read_pairs(file) == [Pair("¿Qué hay?", "¿Qué es?", False, "es")]


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "1", '{"left": "a", "right": "b"}', '{"left": "a", "right": 1, "same": true}',
     '{"left": "a", "right": "b", "same": 1}', '{"left": "", "right": "b", "same": true}',
     '{"left": "a", "right": "b", "same": true, "language": "xyz"}',
     '{"left": "a", "right": "b", "same": true, "language": 3}'],
)  # fmt: skip
def test_what_are_no_pairs_is_said(tmp_path: Path, line: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(line)
    with pytest.raises(InvalidInput, match=r"pairs\.jsonl"):
        read_pairs(file)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_pairs(tmp_path / "none.jsonl")
