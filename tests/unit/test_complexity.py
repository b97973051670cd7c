import re
from collections import Counter
from collections.abc import Iterator
from re import _constants, _parser  # type: ignore[attr-defined]

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.complexity import LIMITS, QueryComplexity, analyze_query_complexity, cap
from app.chat.complexity import should_skip_rag as skip
from app.chat.patterns import Patterns
from app.chat.patterns.english import ENGLISH
from app.chat.patterns.spanish import SPANISH
from tests.unit.complexity_cases import CASES, LEVELS

SEEDS = [
    ("Hello", "trivial", 0, 500),
    ("hola", "trivial", 0, 500),
    ("gracias", "trivial", 0, 500),
    ("What is React?", "simple", 3, 2000),
    ("What's your name?", "simple", 3, 2000),
    ("¿Quién es…?", "simple", 3, 2000),
    ("¿Quién es Ana Torres?", "simple", 3, 2000),
    ("What React projects are there?", "medium", 8, 3000),
    ("Compare X versus Y", "complex", 10, 4500),
    ("diferencia entre…", "complex", 10, 4500),
    ("diferencia entre X e Y", "complex", 10, 4500),
    ("List all projects with their technologies", "comprehensive", 15, 6000),
    ("Compare all React and Python projects", "comprehensive", 15, 6000),
]


@pytest.mark.parametrize(("message", "level", "top_k", "max_tokens"), SEEDS)
def test_the_designs_own_examples(message: str, level: str, top_k: int, max_tokens: int) -> None:
    assert analyze_query_complexity(message) == (QueryComplexity(level), top_k, max_tokens)


@pytest.mark.parametrize(("message", "level"), CASES)
def test_labelled_questions(message: str, level: str) -> None:
    assert analyze_query_complexity(message)[0] == level


def test_the_labelled_questions_are_many_and_in_both_languages() -> None:
    english, spanish = (
        sum(len(tables[language].strip().splitlines()) for tables in LEVELS.values())
        for language in (0, 1)
    )
    assert english + spanish == len(CASES) >= 400
    assert abs(english - spanish) <= 0.1 * len(CASES)
    assert [m for m, n in Counter(message for message, _ in CASES).items() if n > 1] == []


@pytest.mark.parametrize(("message", "level"), CASES)
def test_case_punctuation_and_emojis_change_nothing(message: str, level: str) -> None:
    for variant in (message.upper(), f"  {message} 🙂!!", f"«{message}»", message + "???"):
        assert analyze_query_complexity(variant)[0] == level, variant


@pytest.mark.parametrize(("message", "level"), CASES)
def test_a_greeting_in_front_changes_nothing(message: str, level: str) -> None:
    for greeting in ("Hi! ", "hello, ", "Hola, ", "¡Buenos días! "):
        assert analyze_query_complexity(greeting + message)[0] == level, greeting


@pytest.mark.parametrize(("message", "level"), CASES)
def test_missing_accents_and_inverted_marks_change_nothing(message: str, level: str) -> None:
    plain = message.translate(str.maketrans("áéíóúÁÉÍÓÚ", "aeiouAEIOU", "¿¡"))
    assert analyze_query_complexity(plain)[0] == level


@pytest.mark.parametrize(
    ("message", "level"),
    [
        ("What is the todo app?", "simple"),
        ("Is it any good at all?", "simple"),
        ("¿Quién compra Atlas?", "simple"),
        ("full text search", "simple"),
        ("What is a different way to log in?", "medium"),
        ("Who do I call every day?", "simple"),
        ("ok, compare them", "complex"),
        ("thanks! how do I install it?", "medium"),
        ("Thanks for the list. Now compare all of them.", "comprehensive"),
        ("hi " * 30, "trivial"),
        ("gracias " * 500, "trivial"),
        ("", "trivial"),
        ("…", "trivial"),
        ("🎉🎉", "trivial"),
        ("你好吗", "simple"),
    ],
)
def test_words_that_mislead(message: str, level: str) -> None:
    assert analyze_query_complexity(message)[0] == level


def test_a_long_message_is_not_one_fact() -> None:
    story = "The build of our application takes longer every Monday morning. "
    assert analyze_query_complexity(story + "Is it normal?")[0] != "simple"
    assert analyze_query_complexity("word " * 70)[0] == "medium"
    assert analyze_query_complexity("word " * 200)[0] == "complex"


def test_only_small_talk_skips_retrieval() -> None:
    assert [level for level in QueryComplexity if skip(level)] == [QueryComplexity.TRIVIAL]


def test_a_level_caps_the_agent_and_never_raises_it() -> None:
    assert cap(QueryComplexity.COMPREHENSIVE, 5, 1000) == (5, 1000)
    assert cap(QueryComplexity.SIMPLE, 20, 8000) == (3, 2000)
    assert cap(QueryComplexity.MEDIUM, 20, 1000) == (8, 1000)
    assert cap(QueryComplexity.TRIVIAL, 20, 8000) == (0, 500)
    assert [cap(level, 10**6, 10**6) for level in QueryComplexity] == list(LIMITS.values())


@given(st.text(max_size=200))
def test_every_text_has_a_level(text: str) -> None:
    level, top_k, max_tokens = analyze_query_complexity(text)
    assert (top_k, max_tokens) == LIMITS[level]


FIELDS = ("small_talk", "alone", "lead_ins", "everything", "analysis", "broad", "fact")


def repeats(tree: _parser.SubPattern) -> Iterator[tuple[int, list[object]]]:
    """Every repetition in a parsed pattern: its upper bound and what is repeated."""
    for operation, argument in tree:
        if operation in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            yield argument[1], list(argument[2])
            yield from repeats(argument[2])
        elif operation is _constants.SUBPATTERN:
            yield from repeats(argument[-1])
        elif operation is _constants.BRANCH:
            for branch in argument[1]:
                yield from repeats(branch)
        elif operation in (_constants.ASSERT, _constants.ASSERT_NOT):
            yield from repeats(argument[1])


@pytest.mark.parametrize("table", [ENGLISH, SPANISH], ids=["en", "es"])
def test_patterns_keep_a_search_linear(table: Patterns) -> None:
    """Without a limit only letters of one word repeat; groups repeat at most five times, so the
    steps from any of a text's words are bounded."""
    letters = {_constants.IN, _constants.LITERAL}
    for fragment in (part for field in FIELDS for part in getattr(table, field)):
        for most, repeated in repeats(_parser.parse(fragment.removeprefix("^"))):
            if most is _constants.MAXREPEAT:
                assert [operation for operation, _ in repeated] in [[kind] for kind in letters]
                assert (_constants.LITERAL, ord(" ")) not in repeated, fragment
            else:
                assert most <= 5, fragment


@pytest.mark.parametrize(
    "unit",
    ["a", "? ", ".", ". ", "!?", "¿", "why ", "how many ", "what a b ", "s ", "hi ", "all ", "\n",
     "should i use a b c d e ", "better a b c d ", "compar", "ﷺ", "é", "que ", "mas a b c ", "`'’"],
)  # fmt: skip
def test_the_longest_message_is_no_trouble(unit: str) -> None:
    message = (unit * 8000)[:8000]
    assert analyze_query_complexity(message)[0] in QueryComplexity
    assert analyze_query_complexity(message + "?")[0] in QueryComplexity


def test_patterns_are_of_folded_words() -> None:
    for table in (ENGLISH, SPANISH):
        for fragment in (part for field in FIELDS for part in getattr(table, field)):
            assert fragment.isascii(), fragment
            assert not re.search(r"[A-Z]", fragment), fragment
