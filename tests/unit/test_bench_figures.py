import pytest

from app.bench.figures import Figure


@pytest.mark.parametrize(
    ("figure", "reached"),
    [
        (Figure("a", "ms", [1, 5, 2]), None),
        (Figure("a", "×", [1, 5, 2], 2), True),
        (Figure("a", "×", [1, 5, 2], 1.9), False),
        (Figure("a", "×", [1, 5, 2], 2, "higher"), True),
        (Figure("a", "×", [1, 5, 2], 2.1, "higher"), False),
    ],
)
def test_the_median_decides(figure: Figure, reached: bool | None) -> None:
    assert (figure.median, figure.reached) == (2, reached)
    assert ("MISSED" in figure.line()) == (reached is False)
    assert figure.fields()["reached"] is reached


def test_a_line_tells_the_spread_and_the_limit() -> None:
    line = Figure("a lone question", "ms", [1.234, 456.7, 2], 3).line()
    assert " ".join(line.split()) == "a lone question 2 ms (1.23 to 457) ≤ 3 ok"
