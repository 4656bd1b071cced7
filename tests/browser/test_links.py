"""What can be said about the built pages without a browser: links, titles, the way from page to
page.
"""

from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from browsing import chapters


class Page(HTMLParser):
    """Targets, links and title of one HTML file."""

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.titles, self.ways = path, set(), [], [], []
        self.in_title = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]
        self.in_title = tag == "title"
        for direction in ("left-prev", "right-next"):
            if tag == "a" and direction in (attributes.get("class") or ""):
                self.ways.append((direction, attributes["href"]))

    def handle_data(self, data):
        if self.in_title:
            self.titles.append(data)
            self.in_title = False

    def target(self, link):
        """The file and the id that a link of this page names."""
        parts = urlsplit(link)
        path = (self.path.parent / unquote(parts.path)).resolve() if parts.path else self.path
        return path, unquote(parts.fragment)


@pytest.fixture(scope="module")
def pages(book):
    paths = [path for path in book.rglob("*.html") if "_static" not in path.relative_to(book).parts]
    return {path: Page(path) for path in paths}


def test_every_page_of_the_table_of_contents_is_there(book):
    assert [page for page in ["index.html", *chapters()] if not (book / page).is_file()] == []


def test_links_lead_somewhere(pages):
    """Within the book to a file and a place on it that are there; out of the book over https."""
    broken = set()
    for page in pages.values():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if parts.scheme not in ("https", "mailto", "data") or (
                    parts.scheme == "https" and "." not in parts.netloc
                ):
                    broken.add(f"{page.path.name}: {link}")
                continue
            path, fragment = page.target(link)
            if not path.is_file() or (
                fragment and path in pages and fragment not in pages[path].ids
            ):
                broken.add(f"{page.path.name}: {link}")
    assert sorted(broken) == []


def test_titles_are_of_one_kind_and_no_two_alike(pages):
    titles = {
        path: "".join(page.titles) for path, page in pages.items() if path.name != "index.html"
    }
    assert [
        path.name for path, title in titles.items() if not 10 <= len(title) <= 90 or "<" in title
    ] == []
    assert len(set(titles.values())) == len(titles), sorted(titles.values())


def test_next_and_previous_lead_through_the_book_in_order(book, pages):
    order = [(book / page).resolve() for page in chapters()]
    for i, path in enumerate(order):
        expected = {"left-prev": order[i - 1]} if i else {}
        expected |= {"right-next": order[i + 1]} if i + 1 < len(order) else {}
        assert {key: pages[path].target(link)[0] for key, link in pages[path].ways} == expected, (
            path.name
        )
