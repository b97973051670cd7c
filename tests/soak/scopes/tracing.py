"""What an answer tells about where it was produced, and whether that is where it was asked."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from tests.soak.scopes.world import MARK, Scope

CALL = re.compile(r"\bcall(\d+)\b")
LANGUAGE = re.compile(r"Answer in (\w+)")
MAX_NOTES = 10


class Telling:
    """A model that says nothing but which call this is, and by what its prompt can be known."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def __call__(self, body: Mapping[str, Any]) -> Sequence[str]:
        prompt = body["messages"][0]["content"]
        found = LANGUAGE.search(prompt)
        told = [f"call{next(self._numbers)}", *sorted(set(MARK.findall(prompt)))]
        return [f"{each} " for each in [*told, found[1] if found else "nothing", "[1]"]]


class Traces:
    """Which scope each call of the model was made in, and which ones its answer came to."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.of: Counter[str] = Counter()
        self.exact: Counter[str] = Counter()
        self.semantic: Counter[str] = Counter()
        self._note = note
        self._made_in: dict[int, str] = {}

    def take(self, scope: Scope, text: str, answer: Mapping[str, Any]) -> None:
        """Judge one answer; `answer` has the fields of `done`."""
        self.of["answers"] += 1
        self.of["degraded answers"] += bool(answer["degraded"])
        if answer["cached"]:
            hits = self.semantic if "semantic" in answer["timings_ms"] else self.exact
            hits[scope.name] += 1
        quoted = " ".join(each["quote"] for each in answer["citations"])
        found = CALL.search(text)
        made_in = self._made_in.setdefault(int(found[1]), scope.name) if found else "nowhere"
        if made_in != scope.name:
            self._wrong("answers shared by two scopes", f"{made_in} and {scope.name}", text)
        if not scope.fits(set(MARK.findall(text))) or scope.language not in text:
            self._wrong("answers with another scope's marks", scope.name, text)
        if not set(MARK.findall(quoted)) <= set(scope.own):
            self._wrong("citations of another scope's documents", scope.name, quoted)

    def failed(self, scope: Scope, what: str) -> None:
        self._wrong("questions that failed", scope.name, what)

    def _wrong(self, what: str, where: str, told: str) -> None:
        self.of[what] += 1
        if self.of[what] <= MAX_NOTES:
            self._note(f"{what}: {where}: {told[:200]}")
