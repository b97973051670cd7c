"""What is left of a web page."""

import pytest

from app.ingest.errors import EmptyDocument
from app.ingest.html import html_text
from app.ingest.parse import parse_file

PAGE = """<!doctype html>
<html><head>
 <title> The  Team &amp; its
 work </title>
 <style>p { color: red }</style><script>alert("<p>no</p>")</script>
</head><body>
 <nav><ul><li><a href="/">Home</a></li><li>About</li></ul></nav>
 <h1>Who <em>we</em> are</h1>
 <p>Ana leads the
   front end.<br>Luis tests&nbsp;it.</p>
 <svg><title>Icon</title><text>drawn</text></svg>
 <noscript>Switch it on.</noscript><template><p>later</p></template>
 <table><tr><th>Name</th><th>Since</th></tr><tr><td>Ana</td><td>2021</td></tr></table>
 <pre>a  b
   c</pre>
 <!-- nobody reads this -->
 <h2>More</h2><div>One</div><div>Two</div>
</body></html>"""


def test_a_page_as_its_readers_see_it() -> None:
    title, text = html_text(PAGE)
    assert title == "The Team & its work"
    assert text == (
        "- Home\n- About\n\n# Who we are\n\nAna leads the front end.\nLuis tests it.\n\n"
        "Name Since\nAna 2021\n\na  b\n   c\n\n## More\n\nOne\n\nTwo"
    )


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("plain", (None, "plain")),
        ("<p>one<p>two", (None, "one\n\ntwo")),
        ("<title></title><p>x", (None, "x")),
        ("<title>a</title><title>b</title>x", ("a", "x")),
        ("a<script>b", (None, "a")),
        ("a<script>b</script>c", (None, "ac")),
        ("a</script>b", (None, "ab")),
        ("<svg><template></svg>x", (None, "x")),
        ("a&#0;b&#xD800;c", (None, "a\ufffdb\ufffdc")),
        ("1 &lt; 2 &amp;amp; &eacute;", (None, "1 < 2 &amp; é")),
        ("a<b>c</b>d", (None, "acd")),
        ("</pre>a  b", (None, "a b")),
    ],
)
def test_pages_as_they_come(page: str, expected: tuple[str | None, str]) -> None:
    assert html_text(page) == expected


def test_as_a_file() -> None:
    [document] = parse_file("team/about.html", PAGE.encode())
    assert (document.title, document.uri) == ("The Team & its work", "team/about.html")
    [untitled] = parse_file("notes.HTM", b"<p>Text</p>")
    assert (untitled.title, untitled.text) == ("notes", "Text")


def test_a_page_of_scripts_is_empty() -> None:
    with pytest.raises(EmptyDocument):
        parse_file("app.html", b"<title>App</title><script>render()</script>")
