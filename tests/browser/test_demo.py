"""The page that runs a GLF in the reader's browser answers to mouse, keyboard and finger."""

import pytest
from browsing import DESKTOP, PHONE, visit

PICTURES = """() => [...document.querySelectorAll("#glf-demo canvas")]
  .map((canvas) => canvas.toDataURL())"""
GRID = """() => [...document.querySelectorAll("#glf-demo [data-part=grid] canvas")]
  .map((canvas) => canvas.toDataURL())"""


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def demo(request, browser, book):
    """The page with its model running; nothing may have been written to the console in the end."""
    with visit(
        browser, book / "book" / "demo.html", **request.param, reduced_motion="reduce"
    ) as opened:
        assert opened.page.locator("#glf-demo[data-ready=true]").is_visible(), opened.complaints
        yield opened
        assert opened.complaints == []


def part(demo, name):
    return demo.page.locator(f'#glf-demo [data-part="{name}"]')


def test_it_draws_samples_that_differ(demo):
    """With contrast in each: neither blank nor all the same."""
    grid = demo.page.evaluate(GRID)
    assert len(grid) == len(set(grid)) >= 20
    spread = """() =>
      [...document.querySelectorAll("#glf-demo [data-part=grid] canvas")].map((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const greys = data.filter((_, i) => i % 4 === 0);
      return Math.max(...greys) - Math.min(...greys);
    })"""
    assert min(demo.page.evaluate(spread)) > 100
    assert demo.page.locator("#glf-demo-picture").is_hidden()


def test_new_noise_gives_new_samples(demo):
    before = demo.page.evaluate(GRID)
    part(demo, "resample").click()
    after = demo.page.evaluate(GRID)
    assert not set(before) & set(after)


def test_flow_can_be_switched_off_and_on(demo):
    before = demo.page.evaluate(GRID)
    part(demo, "flow").press("Space")
    without = demo.page.evaluate(GRID)
    assert not set(before) & set(without)
    assert "Flow off" in part(demo, "status").inner_text()
    part(demo, "flow").press("Space")
    assert demo.page.evaluate(GRID) == before


def test_temperature_obeys_the_keyboard(demo):
    """At 0 all samples are one picture; back at 1 they are those of the beginning."""
    before = demo.page.evaluate(GRID)
    slider = part(demo, "temperature")
    slider.press("ArrowLeft")
    assert float(slider.input_value()) == pytest.approx(0.95)
    assert demo.page.evaluate(GRID) != before
    slider.press("Home")
    assert float(slider.input_value()) == 0
    assert len(set(demo.page.evaluate(GRID))) == 1
    for _ in range(20):
        slider.press("ArrowRight")
    assert demo.page.evaluate(GRID) == before


def test_walk_changes_the_chosen_sample_alone(demo):
    grid, everything = demo.page.evaluate(GRID), demo.page.evaluate(PICTURES)
    part(demo, "walk").press("End")
    assert demo.page.evaluate(PICTURES) != everything
    assert sum(a != b for a, b in zip(grid, demo.page.evaluate(GRID), strict=True)) <= 1


def test_without_javascript_there_are_pictures(browser, book):
    with visit(browser, book / "book" / "demo.html", **DESKTOP, java_script_enabled=False) as still:
        pictures = still.page.locator("#glf-demo-picture img")
        assert pictures.count() >= 1
        for picture in pictures.all():
            assert picture.is_visible()
            assert picture.bounding_box()["width"] > 100
        assert still.page.locator("#glf-demo").is_hidden()
        assert [failure for failure in still.failures if ".js" not in failure] == []
