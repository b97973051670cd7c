"""What reads a text takes time in proportion to it, whatever the text is made of.

Compared by CPU time of a text and of one eight times as long: a quadratic step would take 64 times
as much, which no noise of a busy machine hides or makes. Short times are not compared.
"""

import gc
import math
import time
from collections.abc import Callable

import pytest

from app.ingest.cutting import cut_text
from app.ingest.markdown import LINK, headings, plain
from app.ingest.pairs import split_pairs

UNITS = (
    *(
        "word ",
        "Aaaa Bbbb ",
        "A",
        "a_",
        "A-",
        "Aa de la ",
        "Aa/",
        "1.1.",
        "A 1 ",
        "é",
        "\U0001f600",
    ),
    *("`", "`a", '"', "«", "“a", "'", "*", "**a", "**a:\n", "_a_ ", "~~~\n", "```\n", "$a", "\\"),
    *("#", "# ", "# a\n", "a\n=\n", ">", "> a\n", "- a\n", "  - a\n", "1. a\n", "|a|b\n", "|-|-\n"),
    *("[", "[a](", "![](", "[](a)", "](", "(", "<a ", "<!-- ", "<div>\n", "&amp;", "[a]: b\n"),
    *(" ", "\t", "\n", "\n ", "a\r", "\u202e", "\U000e0041", "http://a.b ", "Q: a\n", "Q: ["),
)
CHARS, TIMES = 25_000, 8  # four of the segments in which texts are read
RATIO = 24.0
SHORT_SECONDS = 0.05


def names_of_links(text: str) -> None:
    LINK.sub(r"\1", text)


def cut(text: str) -> None:
    cut_text("T", text, {}, "en", 900)


def pairs(text: str) -> None:
    split_pairs("T", text, 900)


def titles(text: str) -> None:
    list(headings(text))


def seconds(step: Callable[[str], object], text: str) -> float:
    """Without the collector, which looks through whatever other tests have left, too."""
    gc.disable()
    try:
        began = time.process_time()
        step(text)
        return time.process_time() - began
    finally:
        gc.enable()


@pytest.mark.parametrize("step", [names_of_links, cut, pairs, titles, plain])
def test_a_longer_text_takes_as_much_longer(step: Callable[[str], object]) -> None:
    slow = []
    for unit in UNITS:
        text = (unit * (TIMES * CHARS // len(unit) + 1))[: TIMES * CHARS]
        short = long = math.inf
        for _ in range(5):  # what else the machine does has its share of a measurement
            long = min(long, seconds(step, text))
            if long < SHORT_SECONDS:
                break
            short = min(short, seconds(step, text[:CHARS]))
            if long < RATIO * short:
                break
        else:
            slow.append((unit, short, long))
    assert slow == []


def test_a_heading_of_a_whole_segment_stays_a_short_one() -> None:
    """Each chunk below it is encoded with it."""
    text = "# " + "a" * 40_000 + "\n\n" + "Words. " * 5_000
    assert max(len(each.title) for each in headings(text)) == 500
    made = cut_text("T", text, {}, "en", 900)
    assert all(len(path) <= 500 for paths in made.paths for path in paths)
