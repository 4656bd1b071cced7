"""The book, built once for all tests, and Chromium to read it with."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from browsing import DESKTOP, PAGES, PHONE, ROOT, visit
from filelock import FileLock
from programs import chromium


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """The folder of the book's HTML, built anew with warnings as errors; or the one that BOOK_HTML
    names.

    Building takes less time than deciding soundly whether an older build is still the book.
    """
    if built := os.environ.get("BOOK_HTML"):
        assert Path(built, "index.html").exists(), f"BOOK_HTML: no book in {built}"
        return Path(built).resolve()
    command = shutil.which("jupyter-book")
    if not command:
        pytest.skip("jupyter-book is not installed: pip install -e '.[book]'")
    out = tmp_path_factory.getbasetemp()
    out = (
        out.parent if "PYTEST_XDIST_WORKER" in os.environ else out
    ) / "book"  # of all processes that test it
    with FileLock(out.with_suffix(".lock")):
        if not (out / "built").exists():
            arguments = ["build", ROOT, "-W", "-n", "--keep-going", "--path-output", out]
            done = subprocess.run([command, *arguments], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-4000:]
            (out / "built").touch()
    return out / "_build" / "html"


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium. Of a module and not of the session, as its event loop would be in the way
    of other tests'.
    """
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install '.[test]'"
    )
    path = chromium()
    if not path:
        pytest.skip(
            "Chromium is not installed (apt-get install chromium); CHROMIUM=path says where it is"
        )
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=PAGES)
def desktop(request, browser, book):
    """Every page in turn, on a desktop."""
    with visit(browser, book / request.param, **DESKTOP) as opened:
        yield opened


@pytest.fixture(scope="module", params=PAGES)
def phone(request, browser, book):
    """Every page in turn, on a phone."""
    with visit(browser, book / request.param, **PHONE) as opened:
        yield opened
