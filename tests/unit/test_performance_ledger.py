"""What processes count in shared memory: each in its own place, whole or not at all."""

import random
from collections.abc import Callable

import pytest

from app.performance.histogram import Distribution
from app.performance.ledger import HALF_BYTES, Ledger
from app.performance.numbers import Numbers, added, pack, unpack
from app.performance.snapshot import Period
from app.shares import Shares, ledger, table

Open = Callable[[int], Ledger]


@pytest.fixture
def place() -> Open:
    shared = table(3)
    return lambda slot: ledger(shared, 3, slot)


def test_each_writes_in_its_own_place_and_reads_all(place: Open) -> None:
    one, other = place(0), place(2)
    assert (one.read(), one.own()) == ({}, None)
    assert one.write(b"first", 1.0)
    assert other.write(b"second", 2.0)
    assert one.write(b"third", 3.0)
    for each in (one, other, place(1)):
        assert each.read() == {0: (3.0, b"third"), 2: (2.0, b"second")}
    assert place(0).own() == b"third"


def test_what_is_too_long_changes_nothing(place: Open) -> None:
    one = place(0)
    assert one.write(b"short", 1.0)
    assert not one.write(bytes(HALF_BYTES), 2.0)
    assert one.read() == {0: (1.0, b"short")}


def test_a_process_that_is_killed_while_it_writes_leaves_what_was_there(place: Open) -> None:
    one, chance = place(1), random.Random(7)
    assert one.write(b"whole", 1.0)
    whole = one._memory[:]
    assert one.write(b"next one", 2.0)
    changed = [at for at in range(len(whole)) if whole[at] != one._memory[at]]
    written = {at: one._memory[at] for at in changed}
    for _ in range(50):  # as if any part of what it writes had come as far as the memory
        there = set(chance.sample(changed, chance.randrange(len(changed))))
        for at in changed:
            one._memory[at] = written[at] if at in there else whole[at]
        assert place(0).read() in ({1: (1.0, b"whole")}, {1: (2.0, b"next one")}, {})


def test_connections_and_counts_do_not_meet(place: Open) -> None:
    shared = table(64)
    shares = Shares(shared, 64)
    for slot in range(64):
        assert ledger(shared, 64, slot).write(bytes([slot]) * 100, 0.0)
        shares.has(slot, slot)
    assert len(ledger(shared, 64, 0).read()) == 64
    assert shares.is_turn_of(0)
    assert not shares.is_turn_of(63)


def measured(count: int) -> Period:
    return Period(2.0, {("load", "s"): Distribution((7,), (count,), 0.5, 0.5)}, {("load", "x"): 1})


def test_numbers_come_back_as_they_were() -> None:
    numbers = Numbers({("requests", "GET"): 3.0}, {("memory",): 1.5}, measured(2))
    assert unpack(pack(numbers)) == numbers
    assert unpack(pack(Numbers())) == Numbers()
    assert unpack(b'[99,"of another version",0,0]') == Numbers()


def test_counters_add_up_and_gauges_are_left_out() -> None:
    one = Numbers({("requests", "GET"): 3.0}, {("memory",): 1.5}, measured(2))
    other = Numbers({("requests", "GET"): 1.0, ("requests", "POST"): 4.0}, {}, measured(3))
    total = added([one, other])
    assert total.counters == {("requests", "GET"): 4.0, ("requests", "POST"): 4.0}
    assert total.gauges == {}
    assert total.measured.series["load", "s"].count == 5
    assert total.measured.errors == {("load", "x"): 2}
    assert added([]) == Numbers()
