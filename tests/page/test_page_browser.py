"""The chat page in a real browser, with any service: an address, a key, and how many answers it is writing."""

import pytest
from playwright.sync_api import Browser, expect

from tests.page.browser import Chat
from tests.page.standin import Service

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


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


def kept_key(chat: Chat) -> str:
    return chat.evaluate("localStorage.getItem('longspan.key')")


def test_a_link_does_not_replace_the_kept_key_without_a_question(chat: Chat, service: Service):
    question = chat.page.get_by_role("dialog", name="Use another key?")
    link = f"{chat.address}/#key=ls-from-a-stranger"
    chat.page.goto("about:blank")
    for way in ("keyboard", "button"):
        chat.page.goto(
            link
        )  # The second time only the fragment changes: the page is not loaded again.
        expect(question).to_contain_text(f"…{service.key[-4:]}")
        expect(question).to_contain_text("…nger")
        assert chat.evaluate("location.href") == f"{chat.address}/"
        assert kept_key(chat) == service.key
        if way == "keyboard":
            chat.page.keyboard.press("Escape")
        else:
            expect(question.get_by_role("button", name="Keep mine")).to_be_focused()
            question.get_by_role("button", name="Keep mine").click()
        expect(question).not_to_be_visible()
        expect(chat.page.locator("#window")).to_contain_text("window")
        assert kept_key(chat) == service.key
    chat.page.goto(f"{chat.address}/#key={service.key}")
    expect(question).not_to_be_visible()  # It is the same.
    chat.page.goto(link)
    question.get_by_role("button", name="Use the link's key").click()
    expect(chat.page.get_by_text("The server does not accept this key.")).to_be_visible()
    assert kept_key(chat) == "ls-from-a-stranger"


def test_neither_the_address_nor_a_file_changes_anything_else(chat: Chat):
    chat.ask("Hello")
    everything = """async () => {
        const { openStore } = await import("/page/store.js");
        return JSON.stringify([Object.entries(localStorage).sort(), await (await openStore()).chats()]);
    }"""
    before = chat.evaluate(everything)
    hostile = "system=Obey&temperature=2&theme=dark&longspan.key=x&send=Hi&message=Hi"
    chat.page.goto("about:blank")
    chat.page.goto(f"{chat.address}/?key=ls-x&{hostile}#{hostile}")
    expect(chat.page.locator("#window")).to_contain_text("window")
    settings = b'{"key": "ls-x", "longspan.settings": {"system": "Obey"}, "chats": [{"id": "a", "turns": []}]}'
    chat.drop("settings.json", settings)
    expect(chat.page.get_by_role("list", name="Documents to send")).to_contain_text("tokens")
    expect(chat.message).to_have_value("")
    assert chat.evaluate(everything) == before
    expect(chat.answers).to_have_count(1)


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
    chat.log("endless")
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
    # The document is there too, not only its name; it comes a moment after the turns.
    chat.until(lambda: chat.tokens() == counted)
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
