"""A real browser on the chat page."""

import base64
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

# A page may wait for a real model, or for a process that reads a PDF.
expect.set_options(timeout=30_000)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def launched() -> Iterator[Browser]:
    """The machine's own Chromium; the test is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on PATH; on Debian it is the package chromium")
    # Chromium's sandbox refuses to run as root.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


class Chat:
    """The page as a person uses it."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page: Page = context.new_page()
        self.address = address
        self.errors: list[str] = []
        """Uncaught exceptions, breaches of the content policy among them."""
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.requested: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))

    def open(self, key: str | None = None) -> "Chat":
        self.page.goto(self.address + (f"/#key={key}" if key else "/"))
        if key:
            expect(self.page.locator("#window")).to_contain_text("window")
        return self

    @property
    def message(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message")

    @property
    def answers(self) -> Locator:
        return self.page.get_by_role("article", name="Answer")

    @property
    def stop(self) -> Locator:
        return self.page.get_by_role("button", name="Stop")

    def log(self, text: str) -> None:
        self.message.fill(text)
        self.message.press("Enter")

    def ask(self, text: str, seconds: float = 60) -> Locator:
        """Send a message; gives the answer once it is complete."""
        before = self.answers.count()
        self.log(text)
        answer = self.answers.nth(before)
        again = answer.get_by_role("button", name="Answer again")
        expect(again).to_be_attached(timeout=seconds * 1000)
        return answer

    def drop(self, name: str, data: bytes) -> None:
        """Drop a file on the page, with the events that a browser tells of one."""
        transfer = self.page.evaluate_handle(
            """([name, data]) => {
                const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], name));
                return transfer;
            }""",
            [name, base64.b64encode(data).decode()],
        )
        self.page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
        expect(self.page.get_by_text("Drop to add")).to_be_visible()
        self.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})

    def tokens(self) -> int:
        """What the meter says, once it is exact."""
        words = self.page.locator("#meter-words")
        expect(words).to_have_text(re.compile(r"^[\d,]+ of [\d,]+ tokens$"))
        return int(words.inner_text().split()[0].replace(",", ""))

    def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Wait for something outside the page."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come to be"
            self.page.wait_for_timeout(20)

    def evaluate(self, program: str) -> Any:
        return self.page.evaluate(program)
