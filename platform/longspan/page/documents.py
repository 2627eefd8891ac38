"""Text out of PDF files that people hand in."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from longspan.errors import UserError
from longspan.page import pdf_text

SECONDS = 60
"""The longest that one document may take."""
AT_A_TIME = 2
"""Documents that are read at once; others wait for their turn."""

_PROBLEMS = {
    "encrypted": "This PDF is encrypted: save a copy without its password, and add that.",
    "scan": "This PDF has no text in it, only pictures of its pages: run it through text recognition (OCR) first.",
    "pages": f"This PDF has more than {pdf_text.MAX_PAGES:,} pages: split it.",
    "text": f"This PDF has more than {pdf_text.MAX_CHARACTERS:,} characters of text: split it.",
    "memory": f"Reading this PDF takes more than {pdf_text.MEMORY >> 20:,} MiB of memory: split it.",
    "time": "Reading this PDF takes too long: split it.",
}


@dataclass(frozen=True)
class Document:
    """What a PDF says.

    Attributes:
        text: of all pages, an empty line between them.
        pages: their number.
        empty_pages: how many of them have no text, as scanned ones don't.
    """

    text: str
    pages: int
    empty_pages: int


class PdfReader:
    """Reads PDF files, each in a process of its own."""

    def __init__(self, seconds: int = SECONDS) -> None:
        self._seconds = seconds
        # Threads, which work on when a client has gone: no more than these are ever at it.
        self._turns = ThreadPoolExecutor(AT_A_TIME, "pdf")

    async def read(self, data: bytes) -> Document:
        """The text of a PDF.

        Raises:
            UserError: it is no PDF, is encrypted, has no text, is broken, or takes more time, memory or
                pages than a document may.
        """
        if b"%PDF-" not in data[:1024]:
            raise UserError("This file is not a PDF.")
        said = await asyncio.get_running_loop().run_in_executor(self._turns, self._run, data)
        if "text" in said:
            return Document(**said)
        broken = f"This PDF can't be read: the file is damaged ({said.get('what', 'it ends the reader')})."
        raise UserError(_PROBLEMS.get(said["problem"], broken))

    def _run(self, data: bytes) -> dict[str, Any]:
        command = [sys.executable, "-P", "-m", pdf_text.__name__, str(self._seconds)]
        try:
            done = subprocess.run(
                command,
                input=data,
                env={"PYTHONPATH": os.pathsep.join(sys.path)},  # Our modules, none of our secrets.
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self._seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"problem": "time"}
        if done.returncode:
            # The limit of CPU time kills; whatever else ends it is the file's doing too.
            return {"problem": "time" if done.returncode == -signal.SIGKILL else "broken"}
        return json.loads(done.stdout)
