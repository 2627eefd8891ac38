"""What a text can cost the page in a real browser, and that it can't lock anybody out.

The cost of Markdown is counted in nodes of the page and in steps of its parser, never in seconds.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.page.browser import Chat
from tests.page.hostile import PATHOLOGICAL
from tests.page.standin import Standin

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(120)]

SIZE = 20_000
"""Characters. What is quadratic in them makes 400 million of nodes or steps."""
LONG = 1_000_000
"""Characters. What is quadratic in them takes hours, which no browser waits for."""
NODES = 2
"""Of the page, a character: a code block of eight has twelve."""
STEPS = 400
"""Of the program, a character: lists nest 16 deep, and each level reads all of them."""
DEPTH = 400

DRAW = """async (text) => {
    const { markdown } = await import("/page/render.js");
    const shown = document.createElement("div");
    for (const node of markdown(text)) shown.append(node);
    const walker = document.createTreeWalker(shown, NodeFilter.SHOW_ALL);
    let [nodes, deepest] = [0, 0];
    while (walker.nextNode()) {
        nodes += 1;
        if (nodes % 50) continue;
        let depth = 0;
        for (let node = walker.currentNode; node !== shown; node = node.parentNode) depth += 1;
        deepest = Math.max(deepest, depth);
    }
    return { nodes, deepest };
}"""


@pytest.fixture(scope="module")
def draw(browser: Browser, service: Standin) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Draws a Markdown text, and counts the nodes and the steps: how often each part of the program ran."""
    context = browser.new_context()
    chat = Chat(context, service.address).open(service.key)
    profiler = context.new_cdp_session(chat.page)
    profiler.send("Profiler.enable")
    profiler.send("Profiler.startPreciseCoverage", {"callCount": True, "detailed": True})

    def draw(text: str) -> dict[str, Any]:
        profiler.send("Profiler.takePreciseCoverage")
        cost = chat.page.evaluate(DRAW, text)
        taken = profiler.send("Profiler.takePreciseCoverage")["result"]
        files = ("blocks.js", "inline.js", "render.js", "dom.js")
        parts = [script["functions"] for script in taken if script["url"].endswith(files)]
        ranges = [part for functions in parts for each in functions for part in each["ranges"]]
        return cost | {"steps": sum(part["count"] for part in ranges)}

    yield draw
    assert chat.errors == []
    context.close()


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_nodes_and_steps_are_linear_in_the_text(draw: Callable[[str], dict], name: str):
    text = PATHOLOGICAL[name](SIZE)
    cost = draw(text)
    assert cost["nodes"] <= NODES * len(text) + 100
    assert cost["steps"] <= STEPS * len(text) + 10_000
    assert cost["deepest"] <= DEPTH


def test_the_nodes_of_one_answer_are_bounded(draw: Callable[[str], dict]):
    for name in ("fences", "stars both ways", "paragraphs", "table of short rows"):
        assert draw(PATHOLOGICAL[name](LONG))["nodes"] <= NODES * 200_000 + 100, name


def test_what_a_pattern_looks_at_is_linear_too(chat: Chat):
    """A pattern that fails in quadratic time takes steps that no count of the program has."""
    parse = """async (text) => {
        const { parse } = await import("/page/blocks.js");
        const { inline } = await import("/page/inline.js");
        return parse(text).length + inline(text).length;
    }"""
    for text in PATHOLOGICAL.values():
        assert chat.page.evaluate(parse, text(LONG // 2)) is not None


def test_tables_are_drawn_as_far_as_the_limits_go(draw: Callable[[str], dict], chat: Chat):
    shape = """async (text) => {
        const { markdown } = await import("/page/render.js");
        const shown = document.createElement("div");
        shown.append(...markdown(text));
        const count = (what) => shown.querySelectorAll(what).length;
        return [count("tr"), count("th, td"), count(".code"), shown.textContent];
    }"""
    head = "a|b|c|d\n-|-|-|-\n"
    rows = [f"row {number}|1|2|3\n" for number in range(3000)]
    drawn, cells, boxes, text = chat.page.evaluate(shape, head + "".join(rows))
    assert (drawn, cells, boxes) == (2500, 10_000, 1)
    assert all(f"row {number}|1" in text for number in (2499, 2999))  # Nothing is lost.
    assert "row 2498|" not in text and "Rest of a large table" in text
    # All tables of an answer share the limit.
    small = "".join(rows[:100])
    drawn, cells, boxes, text = chat.page.evaluate(shape, f"{head}{small}\n" * 40)
    assert cells <= 10_000 and drawn + text.count("|1|2|3") >= 40 * 100
    wide = "|".join("x" * 65) + "\n" + "|".join("-" * 65) + "\n1|2"
    assert chat.page.evaluate(shape, wide)[:3] == [0, 0, 1]
    short = "a|b|c|d\n-|-|-|-\n1\n"
    assert chat.page.evaluate(shape, short)[:3] == [
        2,
        6,
        0,
    ]  # One cell for the three that it lacks.


def test_a_very_long_answer_looks_the_same_grown_and_at_once(chat: Chat):
    grown = """async ([start, end]) => {
        const { LiveMarkdown, markdown } = await import("/page/render.js");
        const [live, whole] = [document.createElement("div"), document.createElement("div")];
        const growing = new LiveMarkdown(live, () => null);
        for (const text of [start, start + end.slice(0, 10), start + end]) {
            growing.show(text);
            const before = live.textContent;
            while (live.textContent === before) await new Promise(requestAnimationFrame);
        }
        growing.finish();
        whole.append(...markdown(start + end));
        return [live.textContent, whole.textContent];
    }"""
    for start in ("line\n" * 39_999, "line\n\n" * 33_333 + "a\n", "x" * 199_999, "- a\n" * 50_000):
        live, whole = chat.page.evaluate(grown, [start, "more *text*\n\n" * 100])
        assert live == whole
        assert "Rest of a very long answer" in whole


KEEP = """async (text) => {
    const { openStore } = await import("/page/store.js");
    const store = await openStore();
    const asked = { role: "user", text: "Draw it", documents: [] };
    const answered = { role: "assistant", text, state: "done" };
    const turns = Array.from({ length: text.length > 1000 ? 1 : 30 }, () => [asked, answered]).flat();
    await store.saveChat({ id: "kept", title: "Large", updated: 1, turns });
}"""


def delete(chat: Chat) -> None:
    chat.page.get_by_role("button", name="Delete chat: Large").click()
    chat.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(chat.page.get_by_text("Chats are kept in this browser")).to_be_visible()


def test_a_kept_chat_with_a_table_of_a_million_cells_opens_and_can_be_deleted(chat: Chat):
    chat.page.evaluate(KEEP, PATHOLOGICAL["square table"](6000))
    chat.page.reload()
    expect(chat.answers.locator(".code-bar")).to_contain_text("A large table, as text")
    chat.ask("Still there?")
    delete(chat)
    chat.page.reload()
    expect(chat.page.get_by_text("Chats are kept in this browser")).to_be_visible()


def marked(chat: Chat) -> list[str]:
    return json.loads(chat.evaluate("localStorage.getItem('longspan.unfinished') ?? '[]'"))


def test_a_chat_that_was_not_shown_to_its_end_is_not_opened_by_itself(chat: Chat):
    notice = chat.page.get_by_role("alert").filter(has_text="“Large” was not opened")
    chat.page.evaluate(KEEP, "It is **bold**")
    chat.evaluate("localStorage.setItem('longspan.unfinished', '[\"kept\"]')")
    chat.page.reload()
    expect(notice).to_be_visible()
    expect(chat.answers).to_have_count(0)
    notice.get_by_role("button", name="Open as plain text").click()
    expect(chat.answers).to_have_count(30)
    expect(chat.answers.first).to_contain_text("It is **bold**")
    chat.until(lambda: marked(chat) == [])
    # It was shown, and so it opens by itself again.
    chat.page.reload()
    expect(chat.answers.locator("strong")).to_have_count(30)
    expect(notice).not_to_be_attached()
    # A new chat can be had, and the other one be deleted.
    chat.until(lambda: marked(chat) == [])
    chat.evaluate("localStorage.setItem('longspan.unfinished', '[\"kept\"]')")
    chat.page.reload()
    expect(notice).to_be_visible()
    expect(chat.message).to_be_enabled()
    notice.get_by_role("button", name="Delete").click()
    chat.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(notice).not_to_be_attached()
    expect(chat.page.get_by_text("Chats are kept in this browser")).to_be_visible()
    assert marked(chat) == []


def test_a_chat_is_marked_while_it_is_shown_and_the_list_is_there_before(chat: Chat):
    """A browser that hangs or ends leaves the mark; here the page is stopped where it would."""
    chat.page.evaluate(KEEP, "text")
    chat.page.add_init_script(
        """const append = Element.prototype.append;
        Element.prototype.append = function (...nodes) {
            if (this.id === "log") throw new Error("stopped: " + document.querySelector("#chats").textContent);
            return append.apply(this, nodes);
        };"""
    )
    chat.page.reload()
    chat.until(lambda: bool(chat.errors))
    assert chat.errors.pop() == "stopped: Large"
    assert marked(chat) == ["kept"]
    chat.page.reload()
    expect(chat.page.get_by_role("alert")).to_contain_text("“Large” was not opened")
    delete(chat)


def test_a_chat_can_be_deleted_and_left_while_it_is_being_shown(chat: Chat):
    chat.page.evaluate(KEEP, "text")
    # A browser in which each turn takes long: it has its turn after every one.
    chat.page.add_init_script(
        "let now = 0; Object.defineProperty(performance, 'now', { value: () => (now += 100) });"
    )
    chat.page.reload()
    delete(chat)
    expect(chat.answers).to_have_count(0)
    chat.ask("New")
    expect(chat.answers).to_have_count(1)
