"""Every page of the book in a browser without a network: complete, quiet, light, as wide as a
phone, accessible.

A page is opened once for all the tests of it. Those under axe come last, as they change it.
"""

import re

import pytest
from accessibility import violations
from browsing import DESKTOP, PHONE, visit

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")
LOCAL = ("file:", "data:", "blob:")


def test_it_loads_completely_and_from_nowhere_else(desktop):
    assert desktop.failures == []
    assert [url for url in desktop.requests if not url.startswith(LOCAL)] == []


def test_console_is_quiet(desktop):
    assert desktop.complaints == []


def test_mathematics_is_typeset(desktop):
    not_typeset = """() => [...document.querySelectorAll(".math")].filter((math) =>
        !math.querySelector("mjx-container") || math.querySelector("mjx-merror, [data-mjx-error]"))
        .map((math) => math.textContent)"""
    assert desktop.page.evaluate(not_typeset) == []
    prose = """() => {
      const main = document.querySelector("main").cloneNode(true);
      const others = main.querySelectorAll("pre, code, script, template, mjx-container");
      others.forEach((part) => part.remove());
      return main.textContent;
    }"""
    assert (
        re.findall(r".*(?:\$\$|\\\(|\\\[|\\[a-z]+\{|\$[^$\n]+\$).*", desktop.page.evaluate(prose))
        == []
    )


def test_pictures_are_loaded_and_described(desktop):
    """No picture of the book is mere decoration. (The icons within buttons are the theme's; axe
    looks at buttons.)
    """
    wanting = """() => [
      ...[...document.images].filter((i) => !i.naturalWidth).map((i) => `not loaded: ${i.src}`),
      ...[...document.images].filter((i) => !i.alt.trim()).map((i) => `no alt: ${i.src}`),
      ...[...document.querySelectorAll("main :is(canvas, svg)")]
        .filter((drawing) => !drawing.closest("[aria-hidden=true], [aria-label], label, button"))
        .map((drawing) => `no label: ${drawing.outerHTML.slice(0, 120)}`)]"""
    found = desktop.page.evaluate(wanting)
    assert not found, "\n".join(found)


def test_page_with_its_pictures_is_below_2_mb(desktop):
    sizes = desktop.sizes(".html", *PICTURES)
    assert sum(sizes.values()) < 2_000_000, sizes


def test_phone_scrolls_in_one_direction(phone):
    """Nothing makes the page wider than the screen; what is cut off at its edge can be scrolled by
    itself.
    """
    assert phone.page.evaluate("document.scrollingElement.scrollWidth") <= 375
    cut_off = """() => [...document.querySelectorAll("main *")].filter((element) => {
      const box = element.getBoundingClientRect();
      if (box.width <= 1 || !box.height || box.right <= 376) return false;
      if (!element.checkVisibility()) return false;
      for (let e = element; e.tagName !== "MAIN"; e = e.parentElement) {
        const scrolls = /auto|scroll/.test(getComputedStyle(e).overflowX);
        if (scrolls && e.getBoundingClientRect().right <= 376) return false;
        const hidden = "mjx-assistive-mml, .visually-hidden, .sr-only, .bd-sidebar-secondary";
        if (e.matches(hidden)) return false;
      }
      return true;
    }).filter((element, _, all) => !all.includes(element.parentElement)).map((element) => {
      const parent = element.parentElement;
      return `${parent.tagName}.${parent.className} > ${element.outerHTML.slice(0, 150)}`;
    })"""
    found = phone.page.evaluate(cut_off)
    assert not found, "\n".join(found[:5])


def test_letters_of_pictures_can_be_read_on_a_phone(phone):
    """A letter of a plot, 14 pixels high, is 8 or more there; a wide picture scrolls in its box."""
    shrunk = """() => [...document.querySelectorAll(".bd-article :is(figure, .cell_output) img")]
      .filter((image) => !image.closest(".front-pair") && image.checkVisibility())
      .map((image) => [image.getBoundingClientRect().width / image.naturalWidth, image.alt])
      .filter(([scale]) => scale < 0.59)"""
    assert phone.page.evaluate(shrunk) == []


def test_phone_is_quiet_too(phone):
    assert phone.complaints == []
    assert phone.failures == []


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core."""
    return pytest.importorskip(
        "axe_playwright_python.base", reason="axe-playwright-python is missing"
    ).AXE_SCRIPT


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_desktop_is_accessible(desktop, axe, scheme):
    found = violations(desktop.page, axe, scheme)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_is_accessible(phone, axe, scheme):
    found = violations(phone.page, axe, scheme)
    assert not found, "\n".join(found)


def test_book_opens_at_its_first_page_within_1_mb(browser, book):
    with visit(browser, book / "book" / "intro.html", **DESKTOP) as intro:
        sizes = intro.sizes()
        assert sum(sizes.values()) < 1_000_000, dict(
            sorted(sizes.items(), key=lambda item: -item[1])[:8]
        )
        intro.page.goto((book / "index.html").as_uri())
        intro.page.wait_for_url("**/book/intro.html")


@pytest.mark.parametrize("settings", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_search_finds_the_chapter(browser, book, settings):
    with visit(browser, book / "search.html", **settings) as search:
        search.page.goto((book / "search.html").as_uri() + "?q=stop-gradient")
        found = search.page.locator('#search-results li a[href*="notebooks/03_glf.html"]').first
        found.wait_for(timeout=20_000)
        found.click()
        search.page.wait_for_url("**/notebooks/03_glf.html*")
        assert search.complaints == []
        assert search.failures == []


def test_phones_menu_opens_and_leads_on(browser, book):
    with visit(browser, book / "book" / "intro.html", **PHONE) as intro:
        chapter = intro.page.locator('.bd-sidebar-primary a[href$="03_glf.html"]').locator(
            "visible=true"
        )
        assert chapter.count() == 0
        intro.page.locator("button.primary-toggle").locator("visible=true").first.tap()
        intro.page.locator('a[href$="03_glf.html"]').locator("visible=true").first.tap()
        intro.page.wait_for_url("**/notebooks/03_glf.html")


def test_reader_chooses_light_or_dark(browser, book):
    with visit(browser, book / "book" / "intro.html", **DESKTOP, color_scheme="dark") as intro:
        seen = {intro.page.evaluate("document.documentElement.dataset.theme")}
        assert seen == {"dark"}  # as the device says, until the reader says otherwise
        button = intro.page.locator(".theme-switch-button").locator("visible=true").first
        for _ in range(2):
            button.click()
            seen.add(intro.page.evaluate("document.documentElement.dataset.theme"))
        assert seen == {"light", "dark"}
