"""What answers can and can't do, in a real browser, with a service that repeats what it is told."""

import pytest
from playwright.sync_api import Browser, expect

from tests.page.browser import Chat
from tests.page.standin import Standin

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(120)]


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
    "[l](java\tscript:window.hacked=1) [m](javascript\\:window.hacked=1) [n](javascript&colon;window.hacked=1)",
    "[o](blob:https://example.org/x) [p](file:///etc/passwd) [q](\\\\example.org\\x) [r](intent://x#Intent;end)",
    "[![s](javascript:window.hacked=1)](javascript:window.hacked=1) [[t](javascript:x)](https://example.org)",
    "<javascript:window.hacked=1> <data:text/html,x> <https://example.org/<script>window.hacked=1</script>>",
    "https://example.org/\"onclick=window.hacked=1 https://example.org/'><script>window.hacked=1</script>",
    '```<script>window.hacked=1</script>\nx\n```\n~~~" onload=window.hacked=1\ny\n~~~',
    "# <svg onload=window.hacked=1>\n## [u](javascript:window.hacked=1)\n- [x] <img src=x onerror=window.hacked=1>",
    "**<b onclick=window.hacked=1>v</b>** *<details open ontoggle=window.hacked=1>* ~~<object data=x>~~",
    "<template><script>window.hacked=1</script></template><noscript><img src=x onerror=window.hacked=1></noscript>",
    "<math><mtext><style><img src=x onerror=window.hacked=1></style></mtext></math><!--><script>window.hacked=1",
    "<form action=https://example.org><input name=key><button formaction=javascript:window.hacked=1>w</button></form>",
    "<link rel=stylesheet href=https://example.org/x.css><base href=https://example.org/>"
    "<embed src=https://example.org/x>",
    "[w]: javascript:window.hacked=1\n[w] [w][w] &lt;script&gt;window.hacked=1&lt;/script&gt; &#60;img src=x&#62;",
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
    chat.log("three")
    expect(chat.answers).to_have_count(1)
    expect(chat.answers.locator(".markdown")).to_have_text("three")
    assert [turn["content"] for turn in service.seen.chats[-1]["messages"]] == ["three"]
    asked = len(service.seen.chats)
    chat.answers.get_by_role("button", name="Answer again").click()
    expect(chat.answers.get_by_role("button", name="Answer again")).to_be_attached()
    assert len(service.seen.chats) == asked + 1
    assert service.seen.chats[-1]["messages"] == service.seen.chats[-2]["messages"]


def test_a_stream_that_breaks_is_shown_as_incomplete(chat: Chat):
    chat.log("broken")
    problem = chat.answers.get_by_role("alert")
    expect(problem).to_contain_text("This answer is incomplete.")
    expect(chat.answers.locator(".markdown")).to_contain_text("Half of an")
    chat.page.reload()
    expect(problem).to_contain_text("This answer is incomplete.")
    expect(chat.answers.get_by_role("button", name="Try again")).to_be_enabled()


def test_too_many_requests_say_when_to_try_again(chat: Chat):
    chat.log("busy")
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
