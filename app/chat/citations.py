"""Citation markers in a streamed answer: `[1]`, `[1, 2]`, `[1-3]`, `【1】`.

The decoder passes text through as it comes, drops markers of passages nobody retrieved, and
remembers what each of the others stands behind; `quotes` finds that in the passages afterwards.
"""

import re
from collections.abc import Collection, Sequence

from app.chat.model import Citation, Passage
from app.chat.quotes import quote_span

# Numbers start at 1: `a[0]`, `[0-9]` and `[0, 1]` are never citations. Nor are years.
_NUMBER = r"[1-9]\d{0,2}"
_ITEM = rf"{_NUMBER}(?: ?[-–] ?{_NUMBER})?"
_MARKER = re.compile(rf"[\[【] ?{_ITEM}(?: ?[,;] ?{_ITEM})* ?[\]】]", re.ASCII)
_INSIDE = frozenset("0123456789,;-– ")
_CLOSING = {"[": "]", "【": "】"}
# Held back at most. Fifteen numbers, the most a level retrieves, make a marker of 51 characters.
_LONGEST_MARKER = 64
# A longer range is an interval of the text's own ("values in [1-100]").
_LONGEST_RANGE = 10
# What a marker stands behind is looked for in so much text before it.
_LONGEST_CLAIM = 4000
_SPECIAL = re.compile(r"[\[【`~\\\n]")
# May stand before a fence: indentation, quotation, bullets and numbers of lists.
_LINE_PREFIX = frozenset(" \t>-*+.)0123456789")
_SENTENCE_END = frozenset(".!?…")
_NO_SPACE_BEFORE = frozenset(".,;:!?…)]}»”’")


class CitationDecoder:
    """Reads one answer, delta by delta. What comes out depends on the text alone, never on how
    it was split. Code, Markdown links, footnotes, task boxes and escapes pass untouched.

    Inline code ends with its line, or with a sentence before a bracket: one stray backtick must
    not carry an invented citation through the rest of the answer.
    """

    def __init__(self, numbers: Collection[int]) -> None:
        """`numbers` are those of this request's passages."""
        self._numbers = frozenset(numbers)
        self._claims: dict[int, list[str]] = {}
        self._since: list[str] = []  # text passed on since the last accepted marker
        self._claim = ""
        self._out: list[str] = []
        # Withheld: a space that a dropped marker may take with it, and a possible marker.
        self._space = ""
        self._marker = ""
        self._dropped = False
        # Where in Markdown we are.
        self._escaped = False
        self._line_start = True
        self._run = ""  # backticks or tildes of which more may come
        self._run_opens_line = False
        self._code = 0  # length of the backtick run that the inline code ends with
        self._fence = ""  # the run that the code block ends with
        self._fence_line = False  # still on the block's first line
        self._idle = True  # nothing withheld and nothing half-read

    def feed(self, delta: str) -> list[str]:
        """The text that can be passed on now; markers come whole or not at all."""
        position, length = 0, len(delta)
        while position < length:
            if self._idle and (end := _plain_until(delta, position)) > position:
                plain = delta[position:end]
                self._line_start = self._line_start and _LINE_PREFIX.issuperset(plain)
                self._since.append(plain)
                if end - position == length:  # as most deltas are
                    return [delta]
                self._out.append(plain)
                position = end
            else:
                self._read(delta[position])
                position += 1
                self._idle = not (
                    self._space or self._marker or self._dropped or self._escaped or self._run
                )
        return self._take()

    def flush(self) -> list[str]:
        """What was still withheld, at the end of the answer."""
        self._end_run("\n")
        if self._is_whole_marker():
            self._settle()
        else:
            self._release()
        if self._dropped:
            self._space = ""
        self._release()
        self._idle = True
        return self._take()

    def citations(self, passages: Sequence[Passage]) -> Sequence[Citation]:
        """One citation for each number accepted so far, by first appearance."""
        by_number = {passage.number: passage for passage in passages}
        return [
            _cite(by_number[number], claims)
            for number, claims in self._claims.items()
            if number in by_number
        ]

    def _read(self, char: str) -> None:
        if self._run:
            if char == self._run[0]:
                self._run += char
                self._emit(char)
                return
            self._end_run(char)
        if self._marker and self._extends_marker(char):
            return
        in_code = bool(self._fence or self._code)
        if self._dropped:
            self._tidy(char)
        if self._escaped:
            self._escaped = False
            self._pass(char)
        elif char in "`~":
            self._release()
            self._run, self._run_opens_line = char, self._line_start
            self._emit(char)
        elif char == " " and not self._fence:
            self._release()
            self._space = char
        elif char in _CLOSING and (not in_code or self._ends_stray_tick()):
            self._marker, self._code = char, 0
        elif in_code:
            self._pass(char)
        else:
            self._escaped = char == "\\"
            self._pass(char)

    def _pass(self, char: str) -> None:
        self._release()
        self._emit(char)
        if char == "\n":
            self._line_start, self._code, self._fence_line = True, 0, False
        elif char not in _LINE_PREFIX:
            self._line_start = False

    def _end_run(self, following: str) -> None:
        """A run of backticks or tildes is complete: it opens or closes code, or is plain text."""
        run, self._run = self._run, ""
        if not run:
            return
        if self._fence and self._fence_line and run[0] == "`" == self._fence[0]:
            # A backtick after the opening ones on their own line: it was inline code after all.
            self._code, self._fence = len(self._fence), ""
        if self._fence:
            long_enough = run[0] == self._fence[0] and len(run) >= len(self._fence)
            if long_enough and self._run_opens_line and following.isspace():
                self._fence = ""
        elif self._code:
            if run == "`" * self._code:
                self._code = 0
        elif self._run_opens_line and len(run) >= 3:
            self._fence, self._fence_line = run, True
        elif run[0] == "`":
            self._code = len(run)
        self._line_start = False

    def _ends_stray_tick(self) -> bool:
        """True where a bracket follows a sentence, as no code has it: what looked like inline
        code was a quotation mark (`so’), and the bracket may be a marker."""
        last = self._since[-1][-1] if self._since else ""
        return bool(self._code and self._space and last in _SENTENCE_END)

    def _extends_marker(self, char: str) -> bool:
        """True if the character was taken into the possible marker; otherwise the marker is
        settled or passed on, and the character is still to be read."""
        if self._is_whole_marker():
            if char == "(" and self._marker[0] == "[":
                self._release()  # a Markdown link whose text is a number
            else:
                self._settle()
            return False
        if len(self._marker) < _LONGEST_MARKER:
            if char == _CLOSING[self._marker[0]] and _MARKER.fullmatch(self._marker + char):
                self._marker += char
                return True
            if char in _INSIDE:
                self._marker += char
                return True
        self._release()
        return False

    def _is_whole_marker(self) -> bool:
        return self._marker[-1:] in ("]", "】")

    def _settle(self) -> None:
        """Pass on what of the marker is true, and remember what it stands behind."""
        items = [_expand(item) for item in re.split("[,;]", self._marker[1:-1])]
        if any(not item for item in items):
            self._release()
            return
        named = [number for item in items for number in item]
        kept = [number for number in named if number in self._numbers]
        if not kept:
            self._marker, self._dropped = "", True
            return
        if kept != named:
            self._marker = f"{self._marker[0]}{', '.join(map(str, kept))}{self._marker[-1]}"
        marker, self._marker = self._marker, ""
        text = "".join(self._since)[-_LONGEST_CLAIM:]
        if re.search(r"\w", text):
            self._claim = text
        for number in dict.fromkeys(kept):
            self._claims.setdefault(number, []).append(self._claim)
        self._release()
        self._emit(marker)
        self._since.clear()
        self._line_start = False

    def _tidy(self, char: str) -> None:
        """After a dropped marker: no double space, none before punctuation or a line's end."""
        self._dropped = False
        if char.isspace() or char in _NO_SPACE_BEFORE:
            self._space = ""

    def _release(self) -> None:
        """What was withheld turns out to be plain text."""
        if self._marker:
            self._dropped = self._line_start = False
        if self._space or self._marker:
            self._emit(self._space + self._marker)
            self._space = self._marker = ""

    def _emit(self, text: str) -> None:
        self._out.append(text)
        self._since.append(text)

    def _take(self) -> list[str]:
        text = "".join(self._out)
        self._out.clear()
        return [text] if text else []


def without_markers(text: str) -> str:
    """A document's own text with the brackets of what would be read as a citation made round: its
    "[2]" names a source of its own, never a passage of this request."""
    return _MARKER.sub(lambda marker: f"({marker[0][1:-1]})", text)


def _plain_until(text: str, start: int) -> int:
    """Where what is to be read character by character begins. A space before it is part of it: a
    marker that is dropped takes it along."""
    found = _SPECIAL.search(text, start)
    end = found.start() if found else len(text)
    return end - 1 if end > start and text[end - 1] == " " else end


def _expand(item: str) -> Sequence[int]:
    """The numbers of "3" or "3-5"; none of a range that is no short one."""
    first, _, last = item.replace("–", "-").partition("-")
    numbers = range(int(first), int(last or first) + 1)
    return numbers if len(numbers) <= _LONGEST_RANGE else ()


def _cite(passage: Passage, claims: Sequence[str]) -> Citation:
    start, end = quote_span(passage.text, claims)
    return Citation(
        number=passage.number,
        document_id=passage.document_id,
        chunk_id=passage.chunk_id,
        title=passage.title,
        uri=passage.uri,
        quote=passage.text[start:end],
        start=passage.start + start,
        end=passage.start + end,
        score=passage.score,
    )
