"""Pages of the built book: which there are, and how to open one in a browser and look at what it
does.
"""

import contextlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

ROOT = Path(__file__).parent.parent.parent
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 375, "height": 740}, "is_mobile": True, "has_touch": True}


def chapters():
    """The pages of _toc.yml in its order, as paths below the book's folder."""

    def files(node):
        if isinstance(node, list):
            return [path for part in node for path in files(part)]
        here = [node[key] for key in ("root", "file") if key in node]
        return here + [
            path for key in ("parts", "chapters", "sections") for path in files(node.get(key, []))
        ]

    return [f"{path}.html" for path in files(yaml.safe_load((ROOT / "_toc.yml").read_text()))]


PAGES = [
    *chapters(),
    "search.html",
    "genindex.html",
    "py-modindex.html",
    "_modules/glf_minimal/flows.html",
]

SETTLE = """async () => {
  await window.MathJax?.startup?.promise;
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  await document.fonts.ready;
}"""


class Visit:
    """A page in the browser, what it asked for (requests, failures) and what it wrote to the
    console (complaints).
    """

    def __init__(self, context):
        self.page = context.new_page()
        self.requests, self.failures, self.complaints = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on(
            "requestfailed",
            lambda request: self.failures.append(f"{request.url}: {request.failure}"),
        )
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _listen(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def settle(self):
        """Wait for formulas, fonts and all pictures, those below the first screen included."""
        self.page.evaluate(SETTLE)

    def sizes(self, *suffixes):
        """Bytes of what was asked for, {name: size}: of all files, or of those with these suffixes,
        each once.
        """
        paths = {
            Path(unquote(urlsplit(url).path)) for url in self.requests if url.startswith("file:")
        }
        return {
            path.name: path.stat().st_size
            for path in paths
            if not suffixes or path.suffix in suffixes
        }


@contextlib.contextmanager
def visit(browser, path, **settings):
    """Open a file in a fresh, offline context: visit(browser, path, **DESKTOP)."""
    context = browser.new_context(offline=True, **settings)
    try:
        opened = Visit(context)
        opened.page.goto(Path(path).as_uri())
        if settings.get("java_script_enabled", True):
            opened.settle()
        yield opened
    finally:
        context.close()
