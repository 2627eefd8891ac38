"""A browser, a service, and a page of it that somebody has just opened.

The browser is a module's: while Playwright runs, no test of the same thread can run an event loop.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.page.browser import Chat, launched
from tests.page.standin import Service, Standin, standin


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
    """A new visitor's page, whose key the address handed over; it must fail nowhere and ask nobody else."""
    context = browser.new_context()
    chat = Chat(context, service.address).open(service.key)
    yield chat
    assert chat.errors == []
    assert [url for url in chat.requested if not url.startswith((service.address, "data:"))] == []
    context.close()
