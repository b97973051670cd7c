"""As much of Markdown as ingestion reads itself: front matter, headings, and places to cut.

Nothing here looks at more than SEGMENT_CHARS in one call into C, so that a thread working on a
10 MB text lets the event loop have the interpreter every few milliseconds.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# The Markdown splitter's time grows with the square of its input: 10 MB of words take 188 s at
# once and 2 s in pieces of this size.
SEGMENT_CHARS = 50_000
FRONT_MATTER_CHARS = 4_000
# Of a longer heading only the beginning is one: each chunk below is encoded with it.
MAX_HEADING_CHARS = 500

FRONT_MATTER_END = re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE)
FRONT_MATTER_LINE = re.compile(r"^(\w+):[ \t]*(.+?)[ \t]*$", re.MULTILINE)
MARK = re.compile(
    r"^ {0,3}(?:"
    r"(?P<fence>`{3,}|~{3,})"
    r"|(?P<hashes>#{1,6})[ \t]+(?P<title>[^\n]++)"
    r"|(?P<underlined>[^\s#>|`~*+-][^\n]*+)\n {0,3}=+[ \t]*$"
    r")",
    re.MULTILINE,
)
HEADING_LINE = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
# Neither part goes on over the beginning of another link, so that "[[[[…" costs no square.
LINK = re.compile(r"!?\[([^\[\]\n]*+)\]\((?:[^()\n]|\([^()\n]*+\))*+\)")
CLOSING_HASHES = re.compile(r"(?:^|[ \t])#+[ \t]*$")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading at character `start`, of level 1 to 6, its title without markup."""

    start: int
    level: int
    title: str


def segments(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into stretches of at most SEGMENT_CHARS, between sections where possible."""
    start = 0
    while len(text) - start > SEGMENT_CHARS:
        end = cut(text, start + SEGMENT_CHARS // 2, start + SEGMENT_CHARS)
        yield start, end
        start = end
    yield start, len(text)


def cut(text: str, low: int, high: int) -> int:
    """The best place to cut in `low:high`: before a heading, a paragraph, a line, a word."""
    for mark, kept in (("\n\n#", 2), ("\n\n", 2), ("\n", 1), (" ", 1)):
        place = text.rfind(mark, low, high)
        if place >= 0:
            return place + kept
    return high


def front_matter(text: str) -> tuple[int, Mapping[str, str]]:
    """Where the text after YAML front matter starts (0 without one), and its plain fields."""
    if not text.startswith("---\n"):
        return 0, {}
    end = FRONT_MATTER_END.search(text, 4, FRONT_MATTER_CHARS)
    if end is None:
        return 0, {}
    lines = FRONT_MATTER_LINE.finditer(text, 4, end.start())
    return end.end(), {line[1]: line[2].strip("\"'").strip() for line in lines}


def headings(text: str) -> Iterator[Heading]:
    """The headings outside code fences and front matter, in order."""
    body, _ = front_matter(text)
    fence = ""
    for start, end in segments(text):
        for match in MARK.finditer(text, max(start, body), max(end, body)):
            if match["fence"]:
                fence = follow_fence(fence, match["fence"])
            elif not fence:
                title = plain(match["title"] or match["underlined"] or "")
                level = len(match["hashes"] or "#")
                start_of_it = match.start("hashes" if match["hashes"] else "underlined")
                if title:
                    yield Heading(start_of_it, level, title)


def follow_fence(fence: str, mark: str) -> str:
    """The open code fence after `mark`; one closes only by the same sign, at least as long."""
    if not fence:
        return mark
    return "" if mark.startswith(fence) else fence


def plain(title: str) -> str:
    """A heading's words without closing hashes, links, emphasis and code marks; of a very long
    one its beginning."""
    words = LINK.sub(r"\1", CLOSING_HASHES.sub("", title[:MAX_HEADING_CHARS].rstrip()))
    return re.sub(r"[*`]+", "", words).strip()


def is_heading(line: str) -> bool:
    """Whether a single line is a heading made with hashes."""
    return HEADING_LINE.match(line) is not None
