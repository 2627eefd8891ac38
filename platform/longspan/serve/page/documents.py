"""Text out of PDF files that people hand in."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from longspan.errors import UserError
from longspan.serve.page import pdf_text
from longspan.serve.page.bounded_threads import BoundedThreads

SECONDS = 60
"""The longest that one document may take."""
AT_A_TIME = 2
"""Documents that are read at once; others wait for their turn."""
AT_A_TIME_PER_KEY = 1
"""Documents of one API key that are read at once: slow ones of one key leave others a reader."""
MAX_WAITING = 8
"""Documents that wait for their turn."""

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
        self._threads = BoundedThreads(
            "PDF",
            max_running=AT_A_TIME,
            max_running_per_owner=AT_A_TIME_PER_KEY,
            max_waiting=MAX_WAITING,
            retry_after_s=2.0,
        )

    async def read(self, data: bytes, key_name: str = "") -> Document:
        """The text of a PDF. Its process ends when this is cancelled.

        Args:
            data: the file.
            key_name: of the API key on whose behalf it is read; keys take turns.

        Raises:
            UserError: it is no PDF, is encrypted, has no text, is broken, or takes more time, memory or
                pages than a document may.
            Busy: too many wait for their turn.
        """
        if b"%PDF-" not in data[:1024]:
            raise UserError("This file is not a PDF.")
        process = _Process(self._seconds)
        try:
            said = await self._threads.run(lambda: process.run(data), owner=key_name)
        except asyncio.CancelledError:
            process.kill()
            raise
        if "text" in said:
            return Document(**said)
        broken = f"This PDF can't be read: the file is damaged ({said.get('what', 'it ends the reader')})."
        raise UserError(_PROBLEMS.get(said["problem"], broken))


class _Process:
    """The process that reads one PDF."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def run(self, data: bytes) -> dict[str, Any]:
        """The reader process's result for a PDF; blocks until the process has ended."""
        command = [sys.executable, "-P", "-m", pdf_text.__name__, str(self._seconds)]
        with subprocess.Popen(
            command,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},  # Our modules, none of our secrets.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            self._process = process
            if self._killed:  # Before it had begun.
                process.kill()
            try:
                said, _ = process.communicate(data, self._seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                return {"problem": "time"}
        if process.returncode:
            # The limit of CPU time kills; whatever else ends it is the file's doing too.
            return {"problem": "time" if process.returncode == -signal.SIGKILL else "broken"}
        return json.loads(said)

    def kill(self) -> None:
        """End the process, from another thread, whether it has begun or not."""
        self._killed = True
        if self._process is not None:
            self._process.kill()
