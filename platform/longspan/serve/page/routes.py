"""The chat page: its files, and what it asks the server beside the OpenAI API.

    GET  /, /page/{file}   the page; public, it holds no data
    POST /page/tokens      what a conversation, or each of some texts, takes of the window
    POST /page/text        the text of a PDF

The two POSTs belong behind the gateway, which asks for a key and limit the size of a body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from longspan.errors import UserError
from longspan.serve.page.bounded_threads import Busy
from longspan.serve.page.documents import PdfReader

STATIC = Path(__file__).with_name("static")
KEY_NAME = "longspan.key_name"
"""Where a request's scope has the name of its API key, which the gateway puts there."""

# Nothing from elsewhere and nothing inline: markup in an answer could start no script even if it were let
# in. Browsers that know trusted types don't let the page make elements of text at all.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # Kept, but asked after each time: a new version shows at once.
}

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

MAX_TEXTS = 256
"""Texts that are counted in one request; the page asks about one at a time."""
MAX_MESSAGES = 16384

Handler = Callable[[Request], Awaitable[Response]]


class Counter(Protocol):
    """Counts tokens as the served model does.

    Attributes:
        model: the name that the API knows it by.
        window: tokens of prompt and answer together.
    """

    model: str
    window: int

    async def count(self, messages: list[dict[str, Any]]) -> int:
        """Tokens of the prompt that the chat template makes of `messages`.

        Raises:
            UserError: the template refuses them.
            Busy: too many texts wait to be counted.
        """
        ...

    async def count_texts(self, texts: list[str]) -> list[int]:
        """Tokens of each text alone, without any that mark its beginning or end.

        Raises:
            Busy: too many texts wait to be counted.
        """
        ...


class Message(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="forbid")

    role: str
    content: str


class TokensRequest(BaseModel):
    """A conversation, or texts that are counted one by one."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Message] | None = Field(None, max_length=MAX_MESSAGES)
    texts: list[str] | None = Field(None, max_length=MAX_TEXTS)

    @model_validator(mode="after")
    def _one_of_them(self) -> TokensRequest:
        if (self.messages is None) == (self.texts is None):
            raise ValueError("give either 'messages' or 'texts'")
        return self


def routes(counter: Counter) -> list[BaseRoute]:
    """The routes of the page; `counter` is asked for tokens."""
    files = {path.name: _read(path) for path in sorted(STATIC.iterdir()) if path.is_file()}

    async def index(request: Request) -> Response:
        return files["index.html"].response(request)

    async def static(request: Request) -> Response:
        file = files.get(request.path_params["file"])
        if file is None:
            return _error(HTTPStatus.NOT_FOUND, "The page has no such file.")
        return file.response(request)

    async def tokens(request: Request) -> Response:
        wanted = TokensRequest.model_validate_json(await request.body())
        if wanted.messages is not None:
            number = await counter.count([message.model_dump() for message in wanted.messages])
        else:
            number = await counter.count_texts(wanted.texts or [])
        return JSONResponse({"tokens": number, "window": counter.window, "model": counter.model})

    reader = PdfReader()

    async def text(request: Request) -> Response:
        key_name = request.scope.get(KEY_NAME, "")
        return JSONResponse(asdict(await reader.read(await request.body(), key_name)))

    return [
        Route("/", index, methods=["GET"]),
        Route("/page/tokens", _explained(tokens), methods=["POST"]),
        Route("/page/text", _explained(text), methods=["POST"]),
        Route("/page/{file}", static, methods=["GET"]),
    ]


@dataclass(frozen=True)
class _File:
    data: bytes
    type: str
    etag: str

    def response(self, request: Request) -> Response:
        headers = _HEADERS | {"ETag": self.etag}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(self.data, media_type=self.type, headers=headers)


def _read(path: Path) -> _File:
    data = path.read_bytes()
    return _File(data, _TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"')


def _explained(handler: Handler) -> Handler:
    """`handler`, with the mistakes of its caller answered as OpenAI's API does."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            return _error(HTTPStatus.BAD_REQUEST, first["msg"], where or None)
        except UserError as error:
            return _error(HTTPStatus.BAD_REQUEST, str(error))
        except Busy as busy:
            answer = _error(HTTPStatus.SERVICE_UNAVAILABLE, str(busy))
            answer.headers["Retry-After"] = str(busy.retry_after_s)
            return answer

    return answer


def _error(status: HTTPStatus, message: str, param: str | None = None) -> Response:
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    said = {"message": message, "type": kind, "param": param, "code": None}
    return JSONResponse({"error": said}, status_code=status)
