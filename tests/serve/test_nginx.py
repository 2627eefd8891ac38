"""The nginx configuration of docs/serving.md: its numbers are the service's, and nginx does with it what is said."""

import http.server
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from longspan.serve.gateway.limits import GatewayLimits
from longspan.serve.gateway.routes import TEXT
from tests.ports import free_ports

DOCS = Path(__file__).parents[2] / "docs" / "serving.md"
MEBI = 2**20


def snippet() -> str:
    found = re.search(r"```nginx\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found
    return found[1]


def test_the_numbers_are_those_of_the_service() -> None:
    limits, text = GatewayLimits(), snippet()
    whole, document = text.split(f"location = {TEXT} {{")
    assert f"client_max_body_size {limits.body_bytes(131072) // MEBI}m;" in whole
    assert f"client_max_body_size {limits.max_document_bytes // MEBI}m;" in document
    assert f"proxy_read_timeout {limits.request_seconds + 60:.0f}s;" in whole
    for header in ("X-Request-Timeout-Seconds", "X-Request-Disconnect-Disabled"):
        assert f'proxy_set_header {header} "";' in whole


class Upstream(http.server.BaseHTTPRequestHandler):
    """What stands in the service's place: tells what arrived, and streams two pieces on a word."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]]
    go_on: threading.Event

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nfirst\r\n")
        rest = b"last" if self.go_on.wait(10) else b"late"
        self.wfile.write(b"4\r\n%s\r\n0\r\n\r\n" % rest)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.rfile.read(length)
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[str]:
    """nginx with the documented configuration, but for addresses and the certificate; gives its own."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    openssl = shutil.which("openssl")
    if not program or not openssl:
        pytest.skip("nginx and openssl are not installed")
    Upstream.seen, Upstream.go_on = [], threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    plain, secure = free_ports(2)
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=chat.example.org", "-keyout", "privkey.pem", "-out", "fullchain.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    text = snippet().replace("/etc/ssl/chat.example.org", str(tmp_path))
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{server.server_port}")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{plain};")
    text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{secure} ssl")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        f"user root; events {{}}\nhttp {{ access_log off; {places}\n{text}\n}}\n"
    )
    typed = [program, "-p", str(tmp_path), "-c", "nginx.conf", "-e", f"{tmp_path}/error.log"]
    checked = subprocess.run([*typed, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr.replace('"user" directive makes sense only', "")
    running = subprocess.Popen(typed, stderr=subprocess.DEVNULL)
    try:
        _wait_for(secure)
        yield f"https://127.0.0.1:{secure}"
    finally:
        running.terminate()
        running.wait(30)
        server.shutdown()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, "nginx does not listen"
        time.sleep(0.05)


@pytest.mark.real
def test_nginx_with_the_documented_configuration(proxied: str) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    headers = {
        "Authorization": "Bearer ls-key",
        "x-session-id": "one",
        "x-request-timeout-seconds": "1",
        "x-request-disconnect-disabled": "?1",
        "X-Request-Timeout-Seconds": "1",
    }
    with httpx.Client(verify=trusting, trust_env=False, headers=headers, timeout=30) as client:
        for path, size, status in (
            ("/v1/chat/completions", 4 * MEBI, 200),
            ("/v1/chat/completions", 4 * MEBI + 1, 413),
            (TEXT, 32 * MEBI, 200),
            (TEXT, 32 * MEBI + 1, 413),
            ("/-/routes", 1, 404),
        ):
            seen = len(Upstream.seen)
            assert client.post(proxied + path, content=bytes(size)).status_code == status
            assert len(Upstream.seen) - seen == (status == 200), (
                f"{path}: what is refused is refused there"
            )
        for arrived in Upstream.seen:
            assert (arrived["authorization"], arrived["x-session-id"]) == ("Bearer ls-key", "one")
            assert (
                not {"x-request-timeout-seconds", "x-request-disconnect-disabled"} & arrived.keys()
            )
        with client.stream("GET", proxied + "/v1/models") as reply:
            pieces = reply.iter_raw()
            assert next(pieces) == b"first", "a piece arrives when it is made"
            Upstream.go_on.set()
            assert b"".join(pieces) == b"last"
