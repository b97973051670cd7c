"""What a run has said: its events, numbered from 1, and their frames, the bytes for its readers."""

from collections.abc import Callable, Iterable, Sequence

from app.chat.events import Event, Said, Token

Encode = Callable[[int, Said], bytes]

# Of the frames that may be forgotten, so many of the newest stay for readers that are a bit behind.
AT_HAND = 16


class EventLog:
    """Append-only.

    A token is kept as its text alone: Python looks at every other object again and again, for
    cycles, and of a thousand open streams that takes a fifth of a second. A frame is made once for
    all who want it soon, and again for who comes late.
    """

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._said: list[Said] = []
        self._frames: list[bytes] = []
        self._before = 0  # how many events come before the first of these frames

    def __len__(self) -> int:
        return len(self._said)

    def __getitem__(self, position: int) -> Event:
        said = self._said[position]
        return Token(said) if isinstance(said, str) else said

    def extend(self, said: Iterable[Said]) -> None:
        self._said += [each.content if isinstance(each, Token) else each for each in said]

    def inherit(self, other: "EventLog") -> None:
        """Begin with everything that the other one has."""
        self._said, self._frames = list(other._said), list(other._frames)
        self._before = other._before

    def text(self) -> str:
        """All tokens together."""
        return "".join([each for each in self._said if isinstance(each, str)])

    def newest(self) -> bytes:
        """The last event's frame."""
        self._encode_newest()
        return self._frames[-1]

    def frames(self, start: int, end: int) -> Sequence[bytes]:
        """Those of the events behind the first `start`, up to that of number `end`."""
        self._encode_newest()
        before = self._before
        older = [
            self._encode(place + 1, self._said[place]) for place in range(start, min(end, before))
        ]
        return older + self._frames[max(start - before, 0) : max(end - before, 0)]

    def forget_frames(self, number: int) -> None:
        """Those up to this event's are hardly wanted any more."""
        drop = number - AT_HAND - self._before
        if drop > 0:
            del self._frames[:drop]
            self._before += drop

    def _encode_newest(self) -> None:
        said, frames, encode = self._said, self._frames, self._encode
        for place in range(self._before + len(frames), len(said)):
            frames.append(encode(place + 1, said[place]))
