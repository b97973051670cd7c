"""A run's log: whatever was forgotten of its frames, who comes late has the same bytes."""

import random
from uuid import UUID

import pytest

from app.api.sse import frame
from app.chat.event_log import AT_HAND, EventLog
from app.chat.events import Event, Failed, Sources, Start, Token

START = Start(UUID(int=1), UUID(int=2), UUID(int=3))
END = Failed("timeout", "It took too long.", True, 504)


def events(tokens: int) -> list[Event]:
    return [START, Sources(()), *(Token(f"{n} ") for n in range(tokens)), END]


def test_events_are_what_was_added() -> None:
    log = EventLog(frame)
    log.extend(events(3)[:2])
    log.extend(events(3)[2:])
    assert [log[place] for place in range(len(log))] == events(3)
    assert log.text() == "0 1 2 "


@pytest.mark.parametrize("forgotten", [0, 1, AT_HAND, AT_HAND + 1, 40, 103])
def test_forgotten_frames_are_made_again(forgotten: int) -> None:
    said = events(100)
    expected = [frame(number, event) for number, event in enumerate(said, 1)]
    log = EventLog(frame)
    log.extend(said[:-1])
    assert log.newest() == expected[-2]
    log.forget_frames(min(forgotten, len(said) - 1))
    log.extend(said[-1:])
    for start in range(len(said) + 1):
        for end in (start, min(start + 7, len(said)), len(said)):
            assert list(log.frames(start, end)) == expected[start:end]


def test_each_frame_is_made_once_for_all_who_are_in_step() -> None:
    made: list[int] = []

    def counted(number: int, event: Event) -> bytes:
        made.append(number)
        return frame(number, event)

    log = EventLog(counted)
    for number, event in enumerate(events(100), 1):
        log.extend([event])
        for _ in range(5):
            log.newest()
            log.frames(max(0, number - AT_HAND), number)
        log.forget_frames(number)
    assert made == list(range(1, 104))


def test_one_that_inherits_goes_on_by_itself() -> None:
    log, heir, source = EventLog(frame), EventLog(frame), random.Random(4)
    for event in events(60)[:-1]:
        log.extend([event])
        if source.random() < 0.3:
            log.newest()
            log.forget_frames(len(log))
    heir.inherit(log)
    heir.extend([Token("more"), END])
    log.extend([END])
    expected = [frame(number, heir[number - 1]) for number in range(1, len(heir) + 1)]
    assert list(heir.frames(0, len(heir))) == expected
    assert log.text() + "more" == heir.text() and len(heir) == len(log) + 1
