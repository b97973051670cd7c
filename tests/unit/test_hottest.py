"""What is kept in memory: as much as fits, what was asked for last, for as long as was said."""

import random

from app.stores.hottest import ENTRY_BYTES, Hottest

LIFE = 10.0
VALUE = b"v" * 100
ROOM = ENTRY_BYTES + len("a") + len(VALUE)  # of one entry


def test_the_one_asked_for_longest_ago_makes_room() -> None:
    hottest = Hottest(3 * ROOM, LIFE)
    for key in "abc":
        hottest.keep(key, VALUE, 0)
    assert hottest.get("a", 1) == VALUE
    hottest.keep("d", VALUE, 2)
    assert [hottest.get(key, 3) is None for key in "abcd"] == [False, True, False, False]
    assert (len(hottest), hottest.bytes) == (3, 3 * ROOM)


def test_an_entry_lives_from_when_it_was_kept_however_often_it_is_asked_for() -> None:
    hottest = Hottest(3 * ROOM, LIFE)
    hottest.keep("a", VALUE, 0)
    assert [hottest.get("a", now) for now in (0, 5, 9.9)] == [VALUE] * 3
    assert hottest.get("a", 10) is None
    assert (len(hottest), hottest.bytes) == (0, 0)
    hottest.keep("a", VALUE, 11)
    hottest.keep("a", b"new", 20)
    assert hottest.get("a", 29) == b"new"


def test_what_alone_is_too_much_is_not_kept_and_takes_nothing_away() -> None:
    hottest = Hottest(2 * ROOM, LIFE)
    hottest.keep("a", VALUE, 0)
    hottest.keep("b", VALUE * 10, 0)
    assert (hottest.get("a", 1), hottest.get("b", 1)) == (VALUE, None)
    hottest.keep("a", VALUE * 10, 1)  # and the former value is not the entry's any more
    assert (hottest.get("a", 1), hottest.bytes) == (None, 0)
    nothing = Hottest(0, LIFE)
    nothing.keep("a", b"", 0)
    assert nothing.get("a", 0) is None


def test_bytes_are_those_of_what_is_held() -> None:
    chance, hottest, now = random.Random(3), Hottest(20 * ROOM, LIFE), 0.0
    held: dict[str, bytes] = {}
    for _ in range(5000):
        now += chance.random()
        key = f"key {chance.randrange(60)}"
        match chance.randrange(5):
            case 0 | 1:
                held[key] = b"v" * chance.randrange(3 * ROOM)
                hottest.keep(key, held[key], now)
            case 2:
                hottest.forget(key)
            case _:
                assert hottest.get(key, now) in (None, held.get(key))
        sizes = (ENTRY_BYTES + len(each) + len(held[each]) for each in hottest._entries)
        assert hottest.bytes == sum(sizes) <= hottest.limit_bytes
    hottest.clear()
    assert (len(hottest), hottest.bytes) == (0, 0)
