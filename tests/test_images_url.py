"""load_image from a URL: redirects, limits, deadlines, and servers with bad answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from image3d_nb.errors import DownloadError, ImageError
from image3d_nb.images import load_image

from .hub import running
from .test_images_load import corners, encode

PICTURE = encode(corners())


class Handler(BaseHTTPRequestHandler):
    """A server with every kind of bad answer."""

    def do_GET(self) -> None:
        getattr(self, "do_" + self.path.strip("/").partition("/")[0])()

    def answer(self, content: bytes, kind: str | None = "image/png", length: int | None = None) -> None:
        self.send_response(200)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_ok(self) -> None:
        self.answer(PICTURE)

    def do_bytes(self) -> None:
        self.answer(PICTURE, "application/octet-stream")

    def do_untyped(self) -> None:
        self.answer(PICTURE, None)

    def do_chunked(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png; charset=binary")
        self.end_headers()  # no length: it ends when the connection does
        self.wfile.write(PICTURE)

    def do_hop(self) -> None:
        left = int(self.path.rpartition("/")[2])
        self.redirect(f"/hop/{left - 1}" if left else "ok/../../ok")

    def do_loop(self) -> None:
        self.redirect(self.path)

    def do_to_file(self) -> None:
        self.redirect("file:///etc/passwd")

    def do_missing(self) -> None:
        self.send_error(404)

    def do_text(self) -> None:
        self.answer(PICTURE, "text/plain; charset=utf-8")

    def do_page(self) -> None:
        self.answer(b"<html></html>", "text/html; charset=utf-8")

    def do_words(self) -> None:
        self.answer(b"these are words", "image/png")

    def do_huge(self) -> None:
        self.answer(PICTURE, length=2_000_000_000)

    def do_short(self) -> None:
        self.answer(PICTURE, length=len(PICTURE) + 100)

    def do_endless(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        while not self.server.stopped.is_set():  # type: ignore[attr-defined]
            self.wfile.write(bytes(65536))

    def do_hang(self) -> None:
        self.server.stopped.wait(20)  # type: ignore[attr-defined]

    def do_drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        while not self.server.stopped.wait(0.05):  # type: ignore[attr-defined]
            self.wfile.write(b"x")

    def do_drip_headers(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        while not self.server.stopped.wait(0.05):  # type: ignore[attr-defined]
            self.wfile.write(b"x")

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client hung up, as it should
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.stopped = threading.Event()  # type: ignore[attr-defined]
    with running(made):
        yield f"http://127.0.0.1:{made.server_port}"
        made.stopped.set()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("path", ["ok", "bytes", "text", "untyped", "chunked", "hop/0", "hop/4"])
def test_url(server: str, path: str) -> None:
    assert load_image(f"{server}/{path}").tobytes() == corners().tobytes()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("hop/5", "5 redirects"),
        ("loop", "5 redirects"),
        ("to_file", "file:///etc/passwd"),
        ("missing", "404"),
        ("page", "text/html"),
        ("huge", "2,000,000,000"),
        ("short", r"IncompleteRead|announces"),
    ],
)
def test_wrong_urls(server: str, path: str, message: str) -> None:
    with pytest.raises(DownloadError, match=message):
        load_image(f"{server}/{path}")


def test_a_url_whose_bytes_are_no_image(server: str) -> None:
    with pytest.raises(ImageError, match="first bytes"):
        load_image(f"{server}/words")


def test_endless_body_stops_at_the_limit(server: str) -> None:
    with pytest.raises(DownloadError, match="300,000"):
        load_image(f"{server}/endless", max_bytes=300_000)


@pytest.mark.parametrize("path", ["hang", "drip", "drip_headers"])
def test_slow_servers_meet_the_deadline(server: str, path: str) -> None:
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"must (answer within 0\.4 s|arrive in time)"):
        load_image(f"{server}/{path}", timeout=0.4)
    assert time.monotonic() - start < 3


def test_no_network() -> None:
    with socket.socket() as closed:  # bound and not listening: nobody answers, and nobody else gets the port
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadError, match="reachable"):
            load_image(f"http://127.0.0.1:{closed.getsockname()[1]}/a.png")
    for url in ("http://nowhere.invalid/a.png", "http://", "http://[", "https://"):
        with pytest.raises(DownloadError, match="reachable"):
            load_image(url)
