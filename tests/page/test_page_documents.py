"""Documents and the meter in a real browser, with a service that repeats what it is told."""

import pytest
from playwright.sync_api import Route, expect

from tests.page.browser import Chat
from tests.page.pdfs import pdf
from tests.page.standin import WINDOW, Standin

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(120)]


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
    chat.log("wait")
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
    chat.log("Why?")
    expect(chat.page.get_by_role("alert").filter(has_text="This takes")).to_be_visible()
    assert len(service.seen.chats) == before
    expect(chat.message).to_have_value("Why?")


def test_a_message_stays_with_the_chat_it_was_written_in(chat: Chat, service: Standin):
    chat.ask("Before")
    sent, held = len(service.seen.chats), []

    def hold(counting: Route) -> None:
        held.append(counting)

    chat.page.route("**/page/tokens", hold)
    chat.log("Mine")
    chat.until(lambda: bool(held))
    chat.page.get_by_role("button", name="New chat").click()
    for counting in held:
        counting.continue_()
    chat.page.unroute("**/page/tokens")
    chat.ask("After")
    assert len(service.seen.chats) == sent + 1
    assert [each["content"] for each in service.seen.chats[-1]["messages"]] == ["After"]


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


def test_pdfs_are_sent_one_by_one_and_again_where_the_service_is_busy(chat: Chat):
    sent: list[Route] = []

    def hold(reading: Route) -> None:
        sent.append(reading)

    chat.page.route("**/page/text", hold)
    for name in ("one.pdf", "two.pdf"):
        chat.drop(name, pdf("The sky is blue"))
    chips = chat.page.get_by_role("list", name="Documents to send")
    expect(chips).to_contain_text("two.pdf")
    chat.until(lambda: len(sent) == 1)
    sent[0].fulfill(status=503, headers={"Retry-After": "1"}, json={"error": {"message": "busy"}})
    chat.until(lambda: len(sent) == 2)
    assert chat.page.get_by_text("reading…").count() == 2
    sent[1].continue_()
    chat.until(lambda: len(sent) == 3)
    sent[2].continue_()
    expect(chips.get_by_text("4 tokens · 1 page")).to_have_count(2)


def test_utf_16_is_read(chat: Chat):
    chat.drop("wide.txt", "Grüße aus Köln".encode("utf-16"))
    expect(chat.page.get_by_role("list", name="Documents to send")).to_contain_text("3 tokens")
