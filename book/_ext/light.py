"""A Sphinx extension of this book: pages that ask nothing of the network, load little, and do not
jump.

Every page of the theme loads all icons as a script of 1.5 MB, the machinery for running cells on a
server, and the search index. This book has no such server, needs some twenty icons, which the theme
also brings as a font, and searches on the search page. What is not used is taken out of the pages
once they are written, and its files with it.
"""

import re
from pathlib import Path

from PIL import Image

HOME = "book/intro.html"
HOME_TITLE = "Generative Latent Flow, a book one can run"
SCRIPT = r"[ \t]*<script[^>]*>[^<]*</script>\n?"
UNUSED = {
    "fontawesome.js": "everywhere",
    "thebe": "everywhere",
    "searchindex.js": "but search",
    "searchtools.js": "but search",
    "language_data.js": "but search",
    "MathJax": "but mathematics",
    "mathjax/": "but mathematics",
}
UNUSED_FILES = [
    "_static/**/*.map",
    "_static/**/*.ttf",
    "_static/**/fontawesome.js*",
    "_static/sphinx-thebe.*",
    "_static/mathjax/*.js",  # other bundles of the same
]
KEPT_FILES = {"tex-chtml.js"}
MENDED = {
    'getItem("mode") || ""': 'getItem("mode") || "auto"',  # what the theme falls back to
    # A button without a name, and a list whose items are none to a screen reader
    '<summary><span class="toctree-toggle"': (
        '<summary aria-label="Pages below this one"><span class="toctree-toggle"'
    ),
    '<div role="list" class="citation-list">': '<div class="citation-list">',
}
# From a disk a browser does not let the search page read other pages for its summaries.
NO_SUMMARIES = (
    '\nif (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;\n'
)


def without_unused_scripts(page: str, is_search: bool) -> str:
    has_mathematics = 'class="math' in page

    def keep(match: re.Match) -> str:
        for name, where in UNUSED.items():
            if name in match[0]:
                used = (where == "but search" and is_search) or (
                    where == "but mathematics" and has_mathematics
                )
                return match[0] if used else ""
        return match[0]

    page = re.sub(SCRIPT, keep, page)
    return re.sub(r"[ \t]*<link[^>]*sphinx-thebe\.css[^>]*/>\n", "", page)


NARROW = 360  # pixels, a picture that a phone shows whole, or nearly
SMALLEST = 0.65  # of its size, at which the letters of a plot, 14 pixels, are 9 pixels high


def with_sized_pictures(page: str, folder: Path) -> str:
    """Width and height on every picture of ours, so that the text below stays in its place while it
    loads.

    A picture whose letters would be too small on a phone is put into a box, in which it scrolls
    sideways there. Of boxes of this class the theme sees to it that the keyboard reaches them.
    """
    seen = 0

    def add_size(match: re.Match) -> str:
        nonlocal seen
        tag = match[0]
        path = folder / re.search(r'src="([^"]*)"', tag)[1]
        if re.search(r"\b(width|height)=", tag) or path.suffix != ".png" or not path.exists():
            return tag
        seen += 1
        with Image.open(path) as picture:
            size = f'width="{picture.width}" height="{picture.height}"'
        when = ' loading="lazy"' if seen > 2 else ""
        tag = tag.replace("<img ", f"<img {size}{when} ", 1)
        least = round(SMALLEST * picture.width)
        if least <= NARROW or "style=" in tag:
            return tag
        tag = tag.replace("<img ", f'<img style="--least: {least}px" ', 1)
        return f'<span class="wide-picture pst-scrollable-table-container">{tag}</span>'

    return re.sub(r"<img [^>]*>", add_size, page)


def with_title(page: str, is_home: bool) -> str:
    """The page's own title first; the book's is that of a chapter, too, and would stand there
    twice.
    """
    if is_home:
        return re.sub(r"<title>[^<]*</title>", f"<title>{HOME_TITLE}</title>", page)
    return re.sub(
        r"<title>([^<]*?) (&#8212;|-) [^<]*</title>", r"<title>\1 · the GLF book</title>", page
    )


def lighten(app, exception) -> None:
    out = Path(app.outdir)
    if exception or app.builder.name != "html":
        return
    for path in out.rglob("*.html"):
        if "_static" in path.parts:
            continue
        before = path.read_text(encoding="utf-8")
        name = path.relative_to(out).as_posix()
        after = without_unused_scripts(before, name == "search.html")
        after = with_title(with_sized_pictures(after, path.parent), name == HOME)
        for theirs, ours in MENDED.items():
            after = after.replace(theirs, ours)
        if after != before:
            path.write_text(after, encoding="utf-8")
    options = out / "_static" / "documentation_options.js"
    if NO_SUMMARIES not in options.read_text():
        options.write_text(options.read_text() + NO_SUMMARIES)
    for pattern in UNUSED_FILES:
        for path in out.glob(pattern):
            if path.name not in KEPT_FILES:
                path.unlink()


def plain_text(app, what, name, obj, options, lines) -> None:
    """Docstrings are plain text: bars and stars in them are no markup, and paragraphs further in
    are formulas.

    Nor is a colon: before one, napoleon would look for a type in what a function returns and what a
    property is.
    """
    paragraphs = re.split(r"\n\n+", "\n".join(lines))
    for i, paragraph in enumerate(paragraphs):
        if i and paragraph.startswith("    ") and not paragraphs[i - 1].startswith(("    ", "- ")):
            paragraphs[i] = f"::\n\n{paragraph}"
        elif not paragraph.startswith(">>>"):
            parts = re.split(r"(``[^`]*``)", paragraph)
            parts[::2] = [re.sub(r"([|*])", r"\\\1", part) for part in parts[::2]]
            paragraphs[i] = re.sub(r"^Returns:\n {4}", ":returns: ", "".join(parts))
            if what == "property":
                paragraphs[i] = paragraphs[i].replace(": ", " – ")
            if re.search(
                r"^:returns: {.*\n {8}", paragraphs[i], re.DOTALL
            ):  # a dictionary of several lines, as it is
                shown = (
                    paragraph.replace("``", "").replace("Returns:\n", "").replace("\n", "\n    ")
                )
                paragraphs[i] = f":returns:\n    .. code-block:: text\n\n    {shown}"
    lines[:] = "\n\n".join(paragraphs).split("\n")


def no_buttons_without_address(app, config) -> None:
    """Buttons that open a chapter elsewhere need the address of the repository; the theme does not
    check.
    """
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options["launch_buttons"] = {}


def setup(app) -> dict:
    app.connect("config-inited", no_buttons_without_address)
    app.connect("build-finished", lighten, priority=900)
    app.connect("autodoc-process-docstring", plain_text, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
