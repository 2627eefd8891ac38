"""The pages of an evaluation in a real browser, from files: the report, and the blind comparison."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from longspan.evaluate.preference.answers import Answer
from longspan.evaluate.preference.blind import BlindSet, Key, blind
from longspan.evaluate.preference.page import preference_page
from longspan.evaluate.preference.votes import Votes, preference
from longspan.evaluate.report.page import write_report
from tests.evaluate.report_fixtures import sample_records, whole_results

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

Scheme = Literal["dark", "light"]
HOSTILE = (
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(write_report(whole_results(), sample_records(HOSTILE + "x" * 300)))
    return path


@pytest.fixture(scope="module")
def pairs() -> tuple[BlindSet, Key]:
    first = [
        Answer(f"p{n}", f"Question {n}: {'long ' * 400}", f"left {n} {HOSTILE}") for n in range(4)
    ]
    second = [Answer(a.id, a.prompt, f"right {n}") for n, a in enumerate(first)]
    return blind(first, second, ("one", "two"), 0)


@contextmanager
def opened(browser: Browser, path: Path, width: int, scheme: Scheme) -> Iterator[Page]:
    """A file in a browser; it must ask for nothing else, and complain of nothing."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, accept_downloads=True
    )
    page, complaints, requested = context.new_page(), [], []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert complaints == []
    assert {url for url in requested if not url.startswith("blob:")} == {path.as_uri()}
    context.close()


def assert_no_overflow(page: Page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # What is wider than its place scrolls there.
    wide = """() => [...document.querySelectorAll("table, pre, figure svg")].filter((part) => {
        const box = part.closest(".scroll, .wide") ?? part;
        return box.getBoundingClientRect().right > innerWidth + 1;
    }).length"""
    assert page.evaluate(wide) == 0


def contrast(page: Page, selector: str) -> float:
    """Ratio of the luminances of an element's text and of the first background behind it."""
    return page.evaluate(
        """(selector) => {
        const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        const channels = (color) => {
            pixel.clearRect(0, 0, 1, 1);
            pixel.fillStyle = color;
            pixel.fillRect(0, 0, 1, 1);
            return [...pixel.getImageData(0, 0, 1, 1).data];
        };
        const luminance = (color) => {
            const linear = channels(color).slice(0, 3).map((c) => ((c / 255 + 0.055) / 1.055) ** 2.4);
            return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        };
        const element = document.querySelector(selector);
        const style = getComputedStyle(element);
        const text = element instanceof SVGElement ? style.fill : style.color;
        let behind = element;
        while (channels(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
        const both = [luminance(text), luminance(getComputedStyle(behind).backgroundColor)].sort((a, b) => b - a);
        return (both[0] + 0.05) / (both[1] + 0.05);
    }""",
        selector,
    )


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_the_report_is_readable_at_any_width(
    browser: Browser, report: Path, width: int, scheme: Scheme
):
    with opened(browser, report, width, scheme) as page:
        assert_no_overflow(page, width)
        for selector in ("body", ".pass", ".fail", ".inconclusive", ".muted", ".h1 a", ".h10 a"):
            assert contrast(page, selector) >= 4.5, selector
        assert contrast(page, "figure svg text") >= 4.5
        for folded in page.locator("#samples details").all()[:3]:
            folded.evaluate("(each) => (each.open = true)")
        assert_no_overflow(page, width)
        assert page.title() == "Evaluation fixture: extended"


def test_tables_are_sorted_within_their_groups(browser: Browser, report: Path):
    with opened(browser, report, 1280, "light") as page:
        column = page.locator("#differences th", has_text="difference").get_by_role("button")
        values = "[...document.querySelectorAll('.differences tbody tr')].map((row) => +row.children[2].dataset.value)"
        before = page.evaluate(values)
        for is_descending in (True, False):
            column.click()
            expect(page.locator("#differences th[aria-sort]")).to_have_count(1)
            assert page.evaluate(values) == sorted(before, reverse=is_descending)
        families = "[...document.querySelectorAll('#score-table tbody')].map((body) => body.rows[0].innerText.trim())"
        titles = page.evaluate(families)
        page.locator("#score-table thead").get_by_role("button", name="task").click()
        assert page.evaluate(families) == titles
        first = "document.querySelector('#score-table tbody').rows[1].cells[0].innerText"
        assert page.evaluate(first) == "niah_single_1"


def test_a_cell_of_a_heat_map_opens_its_samples(browser: Browser, report: Path):
    with opened(browser, report, 1280, "light") as page:
        cell = page.locator(".heat a").nth(21)
        target = page.locator((cell.get_attribute("href") or "").replace("#", "[id='") + "']")
        sample = target.get_by_role("article").first
        expect(sample).not_to_be_visible()
        cell.click()
        expect(sample).to_be_in_viewport()
        expect(sample).to_contain_text(HOSTILE)


def test_votes_by_keyboard_survive_a_reload(
    browser: Browser, pairs: tuple[BlindSet, Key], tmp_path: Path
):
    blinded, key = pairs
    path = tmp_path / "preference.html"
    path.write_text(preference_page(blinded))
    with opened(browser, path, 360, "dark") as page:
        assert_no_overflow(page, 360)
        expect(page.locator("#a")).to_have_text(blinded.pairs[0].a)
        page.get_by_label("Your name").fill("Ann 2")
        page.keyboard.press("Tab")
        for pressed in ("1", "ArrowDown", "ArrowRight"):
            page.keyboard.press(pressed)
        page.keyboard.press("u")
        expect(page.get_by_role("status")).to_have_text("2 of 4 voted")
        page.reload()
        expect(page.get_by_role("status")).to_have_text("2 of 4 voted")
        expect(page.locator("#a")).to_have_text(blinded.pairs[2].a)
        page.keyboard.press("2")
        page.get_by_role("button", name="A is better").click()
        expect(page.get_by_role("heading", name="All done")).to_be_visible()
        page.keyboard.press("1")  # There is nothing left to vote on.
        with page.expect_download() as download:
            page.keyboard.press("s")
        assert download.value.suggested_filename == "votes-Ann-2.json"
        votes = Votes.model_validate(json.loads(download.value.path().read_text()))
    ids = [pair.id for pair in blinded.pairs]
    assert votes.rater == "Ann 2"
    assert votes.votes == dict(zip(ids, ["a", "tie", "b", "a"], strict=True))
    assert preference(key, [votes]).votes == 4
