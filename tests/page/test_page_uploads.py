"""What clients can make the service hold and do with PDFs and texts, hung up or not."""

import asyncio
import gc
import json
import threading
import tracemalloc
import weakref
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from starlette.applications import Starlette

import longspan
from longspan.errors import UserError
from longspan.serve.gateway.gateway import Gateway
from longspan.serve.gateway.keys import Key
from longspan.serve.gateway.limits import GatewayLimits
from longspan.serve.gateway.uploads import MAX_UPLOADS, MAX_UPLOADS_PER_KEY
from longspan.serve.page import documents, pdf_text
from longspan.serve.page import routes as page
from longspan.serve.page.bounded_threads import BoundedThreads, Busy
from tests.gateway.scopes import scope_of
from tests.page.pdfs import flate_bomb, pdf, pdf_of, slow_pdf
from tests.page.standin import Words

MIB = 2**20


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def readers() -> int:
    """Processes that read a PDF now; a whole test session has other children."""
    return sum(map(is_reader, psutil.Process().children()))


def is_reader(process: psutil.Process) -> bool:
    try:
        return pdf_text.__name__ in process.cmdline()
    except psutil.Error:  # It has ended: a zombie has no command line.
        return False


class Names:
    """Keys that are their own names."""

    def find(self, token: bytes) -> Key:
        return Key(name=token.decode(), sha256="0" * 64, created=datetime.now(UTC))


class Upload:
    """One client that sends a document; `hang_up` to have it go."""

    def __init__(self, app: Any, key: str, data: bytes) -> None:
        self.gone = asyncio.Event()
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.received = False
        self._data: bytes | None = data
        scope = scope_of("POST", "/page/text")
        scope["headers"] = [(b"authorization", b"Bearer " + key.encode())]
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self._data is not None:
            data, self._data, self.received = bytes(bytearray(self._data)), None, True
            return {"type": "http.request", "body": data, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message.get("body", b"")


def gateway() -> Gateway:
    limits = GatewayLimits(grace_seconds=0.05)
    app = Starlette(routes=page.routes(Words()))
    return Gateway(app, keys=Names(), window=1000, limits=limits, observers=())


def test_documents_of_clients_that_hung_up_are_let_go():
    slow = slow_pdf() + bytes(MIB)

    async def visit() -> int:
        app = gateway()
        gc.freeze()  # Each collection would go through all that other tests have imported.
        tracemalloc.start()
        held = 0
        try:
            before, _ = tracemalloc.get_traced_memory()
            for wave in range(12):
                uploads = [Upload(app, f"key{wave}", slow) for _ in range(4)]
                await until(lambda now=uploads: all(each.received for each in now))
                for upload in uploads:
                    upload.gone.set()
                await asyncio.gather(*(upload.task for upload in uploads))
                gc.collect()
                held = max(held, tracemalloc.get_traced_memory()[0] - before)
        finally:
            tracemalloc.stop()
            gc.unfreeze()
        await until(lambda: readers() == 0)  # Nobody waits for what they read.
        return held

    # Those in the threads that are just ending, and a little for what was imported meanwhile.
    assert asyncio.run(visit()) < (documents.AT_A_TIME + 2) * 1.5 * MIB


def test_uploads_are_refused_before_their_first_byte_where_too_many_are_held():
    slow = slow_pdf()

    async def visit() -> None:
        app = gateway()
        keys = MAX_UPLOADS // MAX_UPLOADS_PER_KEY
        held = [Upload(app, f"key{n % keys}", slow) for n in range(MAX_UPLOADS)]
        await until(lambda: all(upload.received for upload in held))
        own, other = Upload(app, "key0", slow), Upload(app, "another", slow)
        await asyncio.gather(own.task, other.task)
        assert (own.status, other.status) == (429, 503)
        assert b"retry-after" in own.headers and b"retry-after" in other.headers
        assert not own.received and not other.received
        assert "Try again" in json.loads(other.body)["error"]["message"]
        for upload in held:
            upload.gone.set()
        await asyncio.gather(*(upload.task for upload in held))
        again = Upload(app, "another", pdf("The sky is blue"))
        await again.task
        assert (again.status, json.loads(again.body)["text"]) == (200, "The sky is blue")

    asyncio.run(visit())


def test_slow_documents_of_one_key_leave_others_a_reader():
    async def visit() -> None:
        reader, slow = documents.PdfReader(), slow_pdf()
        theirs = [asyncio.create_task(reader.read(slow, "theirs")) for _ in range(4)]
        await until(lambda: readers() == 1)
        assert (await reader.read(pdf("Mine"), "mine")).text == "Mine"
        assert not any(task.done() for task in theirs)
        for task in theirs:
            task.cancel()
        await until(lambda: readers() == 0)

    asyncio.run(visit())


def test_a_slot_is_held_until_the_thread_is_done_not_until_the_caller_is_gone():
    async def visit() -> None:
        threads = BoundedThreads("test", max_running=2, max_waiting=1)
        ended, running = threading.Event(), threading.Semaphore(0)

        def work() -> None:
            running.release()
            ended.wait()

        callers = [asyncio.create_task(threads.run(work)) for _ in range(2)]
        await until(lambda: running._value == 2)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        next_one = asyncio.create_task(threads.run(lambda: "done"))
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="Try again"):
            await threads.run(lambda: "never")
        assert not next_one.done()
        ended.set()
        assert await next_one == "done"
        assert await threads.run(lambda: "later") == "later"

    asyncio.run(visit())


def test_what_waits_for_a_thread_is_let_go_when_its_caller_goes():
    class Text:
        def __call__(self) -> None:
            raise AssertionError("it was cancelled")

    async def visit() -> None:
        threads = BoundedThreads("test", max_running=1, max_waiting=8)
        ended = threading.Event()
        first = asyncio.create_task(threads.run(ended.wait))
        await asyncio.sleep(0)
        texts = [Text() for _ in range(8)]
        seen = [weakref.ref(text) for text in texts]
        waiting = [asyncio.create_task(threads.run(text)) for text in texts]
        await asyncio.sleep(0)
        assert all([task.cancel() for task in waiting])
        await asyncio.wait(waiting)
        texts.clear()
        waiting.clear()
        gc.collect()
        assert [ref() for ref in seen] == [None] * 8
        ended.set()
        await first

    asyncio.run(visit())


def test_an_owner_waits_for_its_own_share_only():
    async def visit() -> None:
        threads = BoundedThreads("test", max_running=2, max_running_per_owner=1, max_waiting=8)
        ended = threading.Event()
        theirs = [asyncio.create_task(threads.run(ended.wait, owner="theirs")) for _ in range(5)]
        await asyncio.sleep(0)
        assert await threads.run(lambda: "mine", owner="mine") == "mine"
        ended.set()
        assert await asyncio.gather(*theirs) == [True] * 5

    asyncio.run(visit())


def test_a_busy_service_says_when_to_come_back():
    async def visit() -> tuple[int | None, bytes | None]:
        app, slow = Starlette(routes=page.routes(Words())), slow_pdf()
        most = documents.AT_A_TIME_PER_KEY + documents.MAX_WAITING
        held = [Upload(app, "", slow) for _ in range(most)]
        await until(lambda: readers() == 1 and all(upload.received for upload in held))
        refused = Upload(app, "", slow)
        await refused.task
        for upload in held:
            upload.task.cancel()
        await until(lambda: readers() == 0)
        return refused.status, refused.headers.get(b"retry-after")

    assert asyncio.run(visit()) == (503, b"2")


def test_nothing_that_clients_ask_for_waits_in_an_unbounded_queue():
    """Executors have one, and `asyncio.to_thread` uses such an executor."""
    root = Path(longspan.__file__).parent
    files = [
        *root.glob("serve/page/*.py"),
        *root.glob("serve/gateway/*.py"),
        root / "serve/counter.py",
    ]
    words = ("to_thread", "run_in_executor", "ThreadPoolExecutor", "ProcessPoolExecutor")
    users = {file.name for file in files if any(word in file.read_text() for word in words)}
    assert users == {"bounded_threads.py"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(pdf_of(flate_bomb(256)), "damaged|memory", id="flate bomb"),
        pytest.param(
            pdf_of(zlib.compress(flate_bomb(512), 9), filters=2), "damaged|memory", id="double"
        ),
        pytest.param(
            pdf_of(zlib.compress(b"BT /F1 12 Tf " + b"[" * 200_000)), "only pictures", id="arrays"
        ),
        pytest.param(pdf_of(zlib.compress(b"<</a " * 200_000)), "only pictures", id="dictionaries"),
        pytest.param(
            b"%PDF-1.7\n1 0 obj\n" + b"[" * 200_000 + b"\ntrailer<</Root 1 0 R>>",
            "damaged",
            id="arrays outside pages",
        ),
    ],
)
def test_bombs_end_with_a_clean_message(data: bytes, message: str):
    with pytest.raises(UserError, match=message):
        asyncio.run(documents.PdfReader(seconds=30).read(data))


def test_a_pdf_that_takes_too_long_is_given_up():
    with pytest.raises(UserError, match="takes too long"):
        asyncio.run(documents.PdfReader(seconds=1).read(slow_pdf()))


def test_a_small_pdf_can_not_become_more_text_than_is_told():
    line = b"(" + b"x" * 1000 + b") Tj "
    data = pdf_of(zlib.compress(b"BT /F1 12 Tf " + line * 600 + b"ET"), pages=10)
    assert len(data) < MIB
    with pytest.raises(UserError, match=f"{pdf_text.MAX_CHARACTERS:,} characters"):
        asyncio.run(documents.PdfReader().read(data))
