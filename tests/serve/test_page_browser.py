"""The chat page in a real browser.

The tests of the first part take any service: an address, a key, and how many answers it is writing. Those
of the second need one that says what it is told to say.
"""

from collections.abc import Iterator

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser, expect

from tests.serve.browser import Chat, launched
from tests.serve.pdfs import pdf
from tests.serve.standin import WINDOW, Service, Standin, standin

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def service() -> Iterator[Standin]:
    with standin() as service:
        yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def chat(browser: Browser, service: Service) -> Iterator[Chat]:
    """A new visitor's page, whose key the address handed over."""
    context = browser.new_context()
    chat = Chat(context, service.address).open(service.key)
    yield chat
    assert chat.errors == []
    assert [url for url in chat.requested if not url.startswith((service.address, "data:"))] == []
    context.close()


# Any service.


def test_a_conversation(chat: Chat):
    answer = chat.ask("What is the sea?")
    expect(answer.locator(".stats")).to_contain_text("tokens/s")
    assert answer.locator(".markdown").inner_text().strip()
    chat.ask("And the sky?")
    expect(chat.page.get_by_role("article")).to_have_count(4)
    expect(chat.message).to_be_focused()


def test_the_key_in_the_address_is_taken_out_of_it(chat: Chat):
    assert chat.evaluate("location.href") == f"{chat.address}/"
    assert chat.evaluate("history.length") <= 2
    chat.page.reload()
    expect(chat.page.locator("#window")).to_contain_text("window")


def test_a_wrong_key_then_the_right_one(browser: Browser, service: Service):
    context = browser.new_context()
    chat = Chat(context, service.address).open()
    field = chat.page.get_by_label("API key")
    field.fill("ls-wrong")
    field.press("Enter")
    expect(chat.page.get_by_text("The server does not accept this key.")).to_be_visible()
    field.fill(service.key)
    chat.page.get_by_label("Keep it in this browser").uncheck()
    field.press("Enter")
    expect(chat.page.locator("#window")).to_contain_text("window")
    chat.ask("Hello")
    assert chat.evaluate("JSON.stringify(localStorage)").count(service.key) == 0
    other = Chat(context, service.address).open()
    expect(other.page.get_by_label("API key")).to_be_visible()
    context.close()


def test_a_stop_in_the_middle_of_an_answer(chat: Chat, service: Service):
    chat.say("endless")
    expect(chat.answers.locator(".markdown")).not_to_be_empty(timeout=60_000)
    chat.message.press("Escape")
    expect(chat.page.get_by_text("You stopped this answer.")).to_be_visible()
    written = chat.answers.locator(".markdown").inner_text()
    chat.until(lambda: service.running() == 0)  # It writes no answer that nobody reads.
    assert chat.answers.locator(".markdown").inner_text() == written
    expect(chat.page.get_by_role("button", name="Send")).to_be_visible()


def test_a_reload_keeps_the_conversation(chat: Chat):
    chat.page.locator("#files").set_input_files(
        {"name": "note.txt", "mimeType": "text/plain", "buffer": b"The boat is red."}
    )
    said = chat.ask("What colour is the boat?").locator(".markdown").inner_text()
    counted = chat.tokens()
    chat.page.reload()
    expect(chat.answers.locator(".markdown")).to_have_text(said, use_inner_text=True)
    expect(chat.page.get_by_role("article", name="You")).to_contain_text("note.txt")
    assert chat.tokens() == counted  # The document is there too, not only its name.
    chat.page.get_by_role("button", name="Delete chat: What colour").click()
    chat.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(chat.page.get_by_role("heading", name="Drop a document")).to_be_visible()
    chat.page.reload()
    expect(chat.page.get_by_text("Chats are kept in this browser")).to_be_visible()
    counts = """async () => {
        const opening = indexedDB.open("longspan");
        await new Promise((resolve) => (opening.onsuccess = resolve));
        const left = opening.result.transaction("documents").objectStore("documents").count();
        await new Promise((resolve) => (left.onsuccess = resolve));
        return left.result;
    }"""
    assert chat.evaluate(counts) == 0


def test_the_keyboard_alone(chat: Chat):
    keyboard = chat.page.keyboard
    expect(chat.message).to_be_focused()
    keyboard.type("First line")
    keyboard.press("Shift+Enter")
    keyboard.type("second line")
    keyboard.press("Enter")
    expect(chat.page.get_by_role("article", name="You")).to_contain_text("First line\nsecond line")
    expect(chat.answers.get_by_role("button", name="Answer again")).to_be_attached(timeout=60_000)
    keyboard.press("Shift+Tab")  # From the message back to the end of the answer.
    focused = "document.activeElement.getAttribute('aria-label')"
    assert chat.evaluate(focused) == "Answer again"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert chat.evaluate(outline) == "solid"
    keyboard.press("Enter")
    expect(chat.answers).to_have_count(1)
    expect(chat.message).to_be_focused()


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone(browser: Browser, service: Service, width: int):
    context = browser.new_context(
        viewport={"width": width, "height": 700}, is_mobile=True, has_touch=True
    )
    chat = Chat(context, service.address).open(service.key)
    wide = "| a | b |\n|---|---|\n| " + "x" * 300 + " | y |\n```\n" + "y" * 300 + "\n```"
    chat.ask(f"Repeat {'long' * 40}")
    chat.message.fill(wide)
    chat.page.get_by_role("button", name="Send").tap()
    again = chat.answers.nth(1).get_by_role("button", name="Answer again")
    expect(again).to_be_attached(timeout=60_000)
    chat.drop(f"{'a long name ' * 8}.txt", b"text")
    assert chat.evaluate("document.documentElement.scrollWidth") == width
    assert chat.evaluate("document.querySelector('#scroller').scrollWidth") <= width
    chat.page.get_by_role("button", name="Chats").tap()
    expect(chat.page.get_by_role("button", name="New chat")).to_be_in_viewport()
    context.close()


# A service that repeats what it is told.


def test_a_document_of_100_kilobytes(chat: Chat, service: Standin):
    chat.drop("report.md", b"Nine words are on this line of the report.\n" * 2400)
    chip = chat.page.get_by_role("list", name="Documents to send")
    expect(chip).to_contain_text("24,000 tokens")
    rest = chat.tokens()
    assert rest > 24_000
    seen = len(service.seen.counted)
    chat.message.press_sequentially("Short?", delay=60)
    expect(chat.page.locator("#meter-words")).to_contain_text(f"about {rest + 2:,} of {WINDOW:,}")
    assert max(service.seen.counted[seen:]) < 1000, "typing sent the document again"
    chat.message.press("Enter")
    expect(chat.answers.locator(".markdown")).to_have_text("Short?")
    sent = service.seen.chats[-1]["messages"][-1]["content"]
    assert "report.md" in sent and sent.count("Nine words") == 2400


def test_the_wait_for_a_long_prompt_is_shown_and_can_be_ended(chat: Chat, service: Standin):
    chat.drop("report.md", b"word " * 9000)
    expect(chat.page.get_by_role("list", name="Documents to send")).to_contain_text("9,000 tokens")
    hung_up = service.seen.hung_up
    chat.say("wait")
    expect(chat.answers).to_contain_text("Reading the document, 9,022 tokens")
    chat.stop.click()
    expect(chat.answers).to_contain_text("You stopped this answer.")
    chat.until(lambda: service.seen.hung_up == hung_up + 1)


def test_what_does_not_fit_is_not_sent(chat: Chat, service: Standin):
    chat.page.locator("#files").set_input_files(
        {"name": "long.txt", "mimeType": "text/plain", "buffer": b"word " * WINDOW}
    )
    expect(chat.page.locator("#fit")).to_contain_text(f"the window is {WINDOW:,}")
    before = len(service.seen.chats)
    chat.say("Why?")
    expect(chat.page.get_by_role("alert").filter(has_text="This takes")).to_be_visible()
    assert len(service.seen.chats) == before
    expect(chat.message).to_have_value("Why?")


def test_pasted_text_becomes_a_document_where_it_is_long(chat: Chat):
    documents = chat.page.get_by_role("list", name="Documents to send")
    for text, becomes_one in (("word " * 1000, True), ("a short one", False)):
        chat.message.fill(text)
        chat.message.press("Control+A")
        chat.message.press("Control+X")
        expect(chat.message).to_have_value("")
        chat.message.press("Control+V")
        if becomes_one:
            expect(documents).to_contain_text("Pasted text")
            expect(documents).to_contain_text("1,000 tokens")
            documents.get_by_role("button", name="Remove Pasted text").click()
        else:
            expect(chat.message).to_have_value(text)
        expect(documents).not_to_be_visible()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04\x00\x00", "It is an Office or ZIP file"),
        (b"\x7fELF\x00\x01", "It is neither text nor a PDF"),
        ("Grüße".encode("latin-1"), "an encoding other than UTF-8"),
        (b"%PDF-1.7 and then nothing", "This PDF can't be read"),
    ],
)
def test_files_that_are_no_text_say_why(chat: Chat, data: bytes, said: str):
    chat.drop("file.bin", data)
    expect(chat.page.get_by_role("alert").filter(has_text="file.bin")).to_contain_text(said)
    expect(chat.page.get_by_role("list", name="Documents to send")).not_to_be_visible()


def test_a_pdf_is_read_by_the_service(chat: Chat):
    chat.drop("paper.pdf", pdf("The sky is blue", ""))
    chip = chat.page.get_by_role("list", name="Documents to send")
    expect(chip).to_contain_text("4 tokens · 1 of 2 pages without text")


def test_utf_16_is_read(chat: Chat):
    chat.drop("wide.txt", "Grüße aus Köln".encode("utf-16"))
    expect(chat.page.get_by_role("list", name="Documents to send")).to_contain_text("3 tokens")


MARKDOWN = """# Title
A paragraph with **bold**, *italic*, `code`, ~~struck~~ and [a link](https://example.org/a_(b)).
Its second line ends here.

1. one
  - nested by two
    1. and by four
2. two

   with a paragraph
- [x] done
- [ ] to do

> A quote
> - with a list

| a | b |
|:--|--:|
| 1 \\| 2 | **3** |

```python
if a < b:

    print("|")
```
---
The end.
"""


def test_an_answer_that_grew_looks_as_if_it_had_come_at_once(chat: Chat):
    grown = """async (text) => {
        const { LiveMarkdown, markdown } = await import("/page/render.js");
        const [live, whole] = [document.createElement("div"), document.createElement("div")];
        const settled = [];
        const growing = new LiveMarkdown(live, (node) => settled.push(node));
        for (let end = 1; end < text.length; end += 5) {
            growing.show(text.slice(0, end));
            await new Promise((resolve) => setTimeout(resolve, 1));
            await new Promise(requestAnimationFrame);
        }
        growing.show(text);
        growing.finish();
        whole.append(...markdown(text));
        return [live.innerHTML, whole.innerHTML, settled.length];
    }"""
    live, whole, settled = chat.page.evaluate(grown, MARKDOWN)
    assert live == whole
    assert settled == 9  # Each block, once: it is read out then.
    for shown in (
        "<h2>Title</h2>",
        "<strong>bold</strong>, <em>italic</em>, <code>code</code>, <del>struck</del>",
        '<a href="https://example.org/a_(b)"',
        "<ul><li>nested by two<ol><li>and by four</li></ol></li></ul>",
        "<p>with a paragraph</p>",
        "<blockquote><p>A quote</p><ul><li>with a list</li></ul></blockquote>",
        '<td class="left">1 | 2</td><td class="right"><strong>3</strong></td>',
        'if a &lt; b:\n\n    print("|")</code>',
        "<hr><p>The end.</p>",
    ):
        assert shown in whole, whole


ATTACKS = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror=window.hacked=1><svg/onload=window.hacked=1>",
    "[click](javascript:window.hacked=1) [b](JaVaScRiPt:window.hacked=1) <javascript:window.hacked=1>",
    "[c](java&#115;cript:window.hacked=1) [d](data:text/html,<script>window.hacked=1</script>)",
    "![x](https://example.org/pixel.png) ![y](javascript:window.hacked=1) [e](//example.org)",
    '[f](https://example.org/"onmouseover="window.hacked=1") `</code><script>window.hacked=1</script>`',
    "```html\n<script>window.hacked=1</script>\n</code></pre><iframe srcdoc='<script>1</script>'>\n```",
    "| <img src=x onerror=window.hacked=1> | b |\n|---|---|\n| [g](vbscript:x) | </table><script>1 |",
    "> <iframe src=javascript:window.hacked=1></iframe>\n\n- <a href=javascript:window.hacked=1>h</a>",
    "<style>body{display:none}</style><meta http-equiv=refresh content='0;url=https://example.org'>",
    "[i]( javascript:window.hacked=1) [j](\x01javascript:window.hacked=1) [k](<javascript:window.hacked=1>)",
]


def test_nothing_that_an_answer_says_ever_runs(chat: Chat, service: Standin):
    dialogs: list[str] = []
    chat.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    start = len(chat.requested)
    for attack in ATTACKS:
        # One paragraph, because that is what is repeated; Markdown's blocks need no empty lines here.
        chat.ask(attack.replace("\n\n", "\n"))
    answers = chat.page.locator(".markdown")
    tags = answers.evaluate_all(
        "all => [...new Set(all.flatMap(a => [...a.querySelectorAll('*')].map(e => e.tagName)))]"
    )
    bad = {"SCRIPT", "IMG", "IFRAME", "STYLE", "META", "SVG", "OBJECT", "EMBED", "FORM", "LINK"}
    assert bad & {tag.upper() for tag in tags} <= {"SVG"}  # Copy buttons have an icon.
    links = answers.locator("a").evaluate_all("all => all.map(a => [a.protocol, a.rel])")
    assert links and all(scheme == "https:" for scheme, _ in links)
    assert all("noopener" in rel for _, rel in links)
    handlers = """all => all.flatMap(answer => [...answer.querySelectorAll("*")])
        .filter(element => [...element.attributes].some(each => each.name.startsWith("on"))).length"""
    assert answers.evaluate_all(handlers) == 0
    for target in answers.locator("span.no-link, code, td").all():
        target.click(timeout=2000)
    assert chat.evaluate("window.hacked") is None
    assert dialogs == []
    paths = {url.removeprefix(service.address) for url in chat.requested[start:]}
    assert paths == {"/v1/chat/completions", "/page/tokens"}
    # The same from what was kept.
    chat.page.reload()
    expect(chat.answers).to_have_count(len(ATTACKS))
    assert chat.evaluate("window.hacked") is None


def test_even_a_script_that_got_in_would_not_run(chat: Chat):
    """The content policy is the second wall."""
    refused = """() => {
        const script = document.createElement("script");
        const ways = [
            () => document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.hacked = 1'>"),
            () => { script.textContent = "window.hacked = 1"; },
            () => { script.append("window.hacked = 1"); document.body.append(script); },
            () => document.body.setAttribute("onclick", "window.hacked = 1"),
        ];
        for (const way of ways) try { way(); } catch { continue; }
        document.body.click();
    }"""
    chat.evaluate(refused)
    outside = "fetch('https://example.org').then(() => 'let out', () => 'blocked')"
    assert chat.evaluate(outside) == "blocked"
    assert chat.evaluate("window.hacked") is None
    chat.requested.clear()  # The one above never left, and is told as a request all the same.


def test_edit_and_again(chat: Chat, service: Standin):
    chat.ask("one")
    chat.ask("two")
    first = chat.page.get_by_role("article", name="You").first
    first.hover()
    first.get_by_role("button", name="Edit message").click()
    expect(chat.message).to_have_value("one")
    chat.page.get_by_role("button", name="Cancel").click()
    expect(chat.answers).to_have_count(2)
    first.hover()
    first.get_by_role("button", name="Edit message").click()
    chat.say("three")
    expect(chat.answers).to_have_count(1)
    expect(chat.answers.locator(".markdown")).to_have_text("three")
    assert [turn["content"] for turn in service.seen.chats[-1]["messages"]] == ["three"]
    asked = len(service.seen.chats)
    chat.answers.get_by_role("button", name="Answer again").click()
    expect(chat.answers.get_by_role("button", name="Answer again")).to_be_attached()
    assert len(service.seen.chats) == asked + 1
    assert service.seen.chats[-1]["messages"] == service.seen.chats[-2]["messages"]


def test_a_stream_that_breaks_is_shown_as_incomplete(chat: Chat):
    chat.say("broken")
    problem = chat.answers.get_by_role("alert")
    expect(problem).to_contain_text("This answer is incomplete.")
    expect(chat.answers.locator(".markdown")).to_contain_text("Half of an")
    chat.page.reload()
    expect(problem).to_contain_text("This answer is incomplete.")
    expect(chat.answers.get_by_role("button", name="Try again")).to_be_enabled()


def test_too_many_requests_say_when_to_try_again(chat: Chat):
    chat.say("busy")
    expect(chat.answers.get_by_role("alert")).to_contain_text("Too many requests")
    expect(chat.answers.get_by_role("button", name="Try again in 1 second")).to_be_disabled()
    chat.answers.get_by_role("button", name="Try again", exact=True).click()
    expect(chat.answers.locator(".markdown")).to_have_text("busy")


def test_a_service_that_is_still_starting(browser: Browser, service: Standin):
    service.seen.starting = 1
    context = browser.new_context()
    chat = Chat(context, service.address)
    chat.page.goto(f"{service.address}/#key={service.key}")
    starting = chat.page.get_by_text("The server is busy, or still starting.")
    expect(starting).to_be_visible()
    expect(chat.page.locator("#window")).to_contain_text("window", timeout=15_000)
    expect(starting).not_to_be_attached()
    context.close()


def test_settings_are_sent_and_kept(chat: Chat, service: Standin):
    chat.page.get_by_role("button", name="Settings").click()
    chat.page.get_by_label("System prompt").fill("Be brief.")
    chat.page.get_by_label("Temperature").fill("0.2")
    chat.page.get_by_label("Longest answer").fill("50")
    chat.page.get_by_role("button", name="Save").click()
    chat.page.reload()
    chat.ask("Hello")
    sent = service.seen.chats[-1]
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (sent["temperature"], sent["max_tokens"]) == (0.2, 50)
