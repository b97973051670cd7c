"""Streams that are cut at an event and resumed on the other replica."""

from collections import Counter
from collections.abc import Callable, Sequence

from tests.soak.resuming.answers import Answers
from tests.soak.visits import Visit

WHEN = ("while it goes on", "when it is over")


class Cuts:
    """Counts what came of each. `home` is the replica that produces the answer, of which each has
    so many `events`."""

    def __init__(self, answers: Answers, events: int, note: Callable[[str], None]) -> None:
        self._answers = answers
        self._events = events
        self._note = note
        self.of: Counter[str] = Counter()

    async def cut(self, home: int, at: int, when: str) -> None:
        """Leave after this many events; read the rest elsewhere, at once or later."""
        async with self._answers.making(home) as making:
            await making.first.until(at)
            heard = making.first.frames[:at]
            making.first.leave()
            if when == WHEN[1]:
                await self._answers.followed(home, making.run_id)
            rest = await self._answers.followed(1 - home, making.run_id, at)
            whole = await self._answers.followed(home, making.run_id)
        self.of[f"streams resumed {when}"] += 1
        self._judge(f"cut at {at} {when}", heard, rest, whole.frames)

    async def hop(self, home: int) -> None:
        """Read one answer event by event, each from the other replica than the one before."""
        frames: list[bytes] = []
        async with self._answers.making(home) as making:
            making.first.leave()
            last = None
            while not (last and self._ended(last)):
                at = (home + len(frames)) % 2
                async with self._answers.following(at, making.run_id, len(frames)) as visit:
                    if not await visit.until(1):
                        break
                    last = visit
                    frames.append(visit.frames[0])
            rest = await self._answers.followed(home, making.run_id, len(frames))
            whole = await self._answers.followed(home, making.run_id)
        self.of["streams read from two replicas, event by event"] += 1
        self._judge("one event at a time", frames, rest, whole.frames)

    def _judge(
        self, what: str, heard: Sequence[bytes], rest: Visit, whole: Sequence[bytes]
    ) -> None:
        """Exactly the bytes that follow; where none do, a 204 or, while the end is on its way
        between the replicas, none."""
        over = len(heard) == len(whole)
        right = rest.status == 200 or (over and rest.status == 204)
        same = [*heard, *rest.frames] == list(whole)
        complete = len(whole) == self._events and b'"type":"done"' in whole[-1]
        if not (right and same and complete):
            self.of["resumed streams with other bytes"] += 1
            last = [each[:80] for each in rest.frames[-1:]]
            self._note(
                f"{what}: heard {len(heard)} of {len(whole)}, then {rest.status} with "
                f"{len(rest.frames)} more, {last}."
            )

    def _ended(self, visit: Visit) -> bool:
        return visit.events[0]["type"] in ("done", "error")
