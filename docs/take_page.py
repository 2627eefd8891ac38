"""Takes docs/page.png of a chat service that runs: `python docs/take_page.py 'http://127.0.0.1:8000/#key=ls-...'`.

A document is dropped, a question asked about it, and a second one written; the browser is the
machine's Chromium.
"""

import argparse
import json
import sys
from pathlib import Path

from playwright.sync_api import expect

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.page.browser import Chat, launched

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="the link that `make serve` prints, key and all")
    parser.add_argument("--document", type=Path, default=ROOT / "docs/pipeline.md")
    parser.add_argument("--ask", default="Summarize this document in one short paragraph.")
    parser.add_argument("--then", default="Which stages are there?")
    parser.add_argument("--tokens", type=int, default=18, help="of the answer, at most")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--to", type=Path, default=ROOT / "docs/page.png")
    given = parser.parse_args()
    address, _, key = given.address.partition("/#key=")
    settings = json.dumps({"temperature": 0, "maxTokens": given.tokens})
    with launched() as browser:
        context = browser.new_context(
            viewport={"width": 1180, "height": 760},
            device_scale_factor=1.5,
            color_scheme="dark" if given.dark else "light",
        )
        context.add_init_script(f"localStorage.setItem('longspan.settings', {settings!r})")
        chat = Chat(context, address).open(key)
        chat.drop(given.document.name, given.document.read_bytes())
        expect(chat.page.locator("#attachments li")).to_be_visible()
        chat.ask(given.ask, seconds=300)
        chat.message.fill(given.then)
        chat.tokens()
        chat.evaluate("document.querySelector('#scroller').scrollTo({top: 0, behavior: 'instant'})")
        chat.page.screenshot(path=given.to)
        context.close()


if __name__ == "__main__":
    main()
