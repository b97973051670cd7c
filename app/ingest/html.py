"""From a web page to the text that its readers see, headings as Markdown's.

The standard library's parser takes time that grows with the square of some pages: where a page is a
stranger's, this runs in a process whose time has a bound.
"""

import re
from html.parser import HTMLParser

# What a browser shows nothing of, or nothing that is text.
HIDDEN = {
    "script", "style", "template", "noscript", "svg", "math", "iframe", "object", "canvas",
    "audio", "video", "select", "textarea", "datalist", "title",
}  # fmt: skip
# What stands on lines of its own.
BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "dialog",
    "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3",
    "h4", "h5", "h6", "head", "header", "hr", "li", "main", "menu", "nav", "ol", "p", "pre",
    "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul",
}  # fmt: skip
HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
ROWS = {"li", "tr"}
CELLS = {"td", "th"}

SPACE = re.compile(r"[ \t\r\n\f\v\u00a0]+")
SPACE_BEFORE_BREAKS = re.compile(r"[ \t\r]+\n")
BREAKS = re.compile(r"\n{3,}")


def html_text(page: str) -> tuple[str | None, str]:
    """The page's title, where it has one, and its text: a paragraph, a heading, an item on lines of
    its own, the cells of a row with a space between them."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    title = SPACE.sub(" ", "".join(reader.title)).strip()
    text = SPACE_BEFORE_BREAKS.sub("\n", "".join(reader.pieces))
    return title or None, BREAKS.sub("\n\n", text).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.pieces: list[str] = []
        self._hidden: list[str] = []  # the elements around that are not shown, innermost last
        self._titled = False  # the first one is the page's
        self._verbatim = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in HIDDEN:
            self._hidden.append(tag)
        if self._hidden:
            return
        if tag == "br":
            self.pieces.append("\n")
        elif tag in BLOCKS:
            self._break(tag)
            self._add(HEADINGS.get(tag, "- " if tag == "li" else ""))
        elif tag in CELLS:
            self._add(self._flowing(" "))
        self._verbatim += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            self._titled = self._titled or self._hidden == ["title"]
            while self._hidden.pop() != tag:
                pass
        elif not self._hidden and tag in BLOCKS:
            self._break(tag)
            self._verbatim -= tag == "pre" and self._verbatim > 0

    def handle_data(self, data: str) -> None:
        if self._hidden == ["title"] and not self._titled:
            self.title.append(data)
        elif not self._hidden:
            self._add(data if self._verbatim else self._flowing(data))

    def _add(self, text: str) -> None:
        if text:
            self.pieces.append(text)

    def _break(self, tag: str) -> None:
        if tag not in ROWS:
            self._add("\n\n")
        elif not (self.pieces and self.pieces[-1].endswith("\n")):
            self._add("\n")

    def _flowing(self, data: str) -> str:
        """Any white space is one space, and none at the beginning of a line."""
        text = SPACE.sub(" ", data)
        begins = not self.pieces or self.pieces[-1].endswith(("\n", "- ", "# "))
        return text.removeprefix(" ") if begins else text
