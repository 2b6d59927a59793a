"""load_image(public_only=True): a server's own network stays out of reach of its visitors."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from image3d_nb.errors import DownloadError, ImageError
from image3d_nb.images import load_image, public_hosts

from .hub import running
from .test_images_load import corners, encode

PICTURE = encode(corners())
NOT_PUBLIC = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "2002:7f00:1::", "2002:c0a8:101::1", "64:ff9b::a9fe:a9fe",
]  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """A picture, or a redirect to the path."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if self.path == "/mug.png":
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(PICTURE)))
            self.end_headers()
            self.wfile.write(PICTURE)
        else:
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked = []  # type: ignore[attr-defined]
    with running(made):
        yield made


def asked(server: ThreadingHTTPServer) -> list[str]:
    return server.asked  # type: ignore[attr-defined,no-any-return]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names and their addresses, for a resolver that reads numbers as the C library does and knows no other name."""
    table = {"localhost": ["127.0.0.1"]}

    def look_up(host: str, port: int, *_: object, **__: object) -> list[object]:
        try:
            found = table.get(host) or [host if ":" in host else socket.inet_ntoa(socket.inet_aton(host))]
        except OSError as error:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from error
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return table


@pytest.fixture
def public_server(server: ThreadingHTTPServer, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> str:
    """The server under a name whose address, loopback with another number, counts as public here."""
    usual = public_hosts.is_public
    monkeypatch.setattr(public_hosts, "is_public", lambda address: address == "127.0.0.2" or usual(address))
    monkeypatch.setattr(
        public_hosts, "create_connection",
        lambda address, *rest, **options: socket.create_connection(("127.0.0.1", address[1])),
    )  # fmt: skip
    names["public.example"] = ["127.0.0.2"]
    return f"http://public.example:{server.server_port}"


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not public_hosts.is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::"])
def test_addresses_that_are_public(address: str) -> None:
    assert public_hosts.is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0"]
)
def test_loopback_in_every_spelling_is_refused_and_hears_nothing(server: ThreadingHTTPServer, host: str) -> None:
    before = len(asked(server))
    with pytest.raises(DownloadError, match="public"):
        load_image(f"http://{host}:{server.server_port}/mug.png", public_only=True)
    assert len(asked(server)) == before
    assert load_image(f"http://127.0.0.1:{server.server_port}/mug.png").size == corners().size  # the default


@pytest.mark.parametrize("address", ["10.0.0.5", "169.254.169.254", "127.0.0.1"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_with_one_private_address_is_refused(names: dict[str, list[str]], address: str, scheme: str) -> None:
    names["inside.example"] = ["8.8.8.8", address]
    with pytest.raises(DownloadError, match=address):
        load_image(f"{scheme}://inside.example/latest/meta-data", public_only=True)


def test_a_public_server(public_server: str) -> None:
    assert load_image(f"{public_server}/mug.png", public_only=True).tobytes() == corners().tobytes()
    assert load_image(f"{public_server}/to//mug.png", public_only=True).tobytes() == corners().tobytes()


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/mug.png", "http://169.254.169.254/latest", "http://inside.example/mug.png"]
)
def test_redirects_into_the_private_network_are_refused(
    public_server: str, server: ThreadingHTTPServer, names: dict[str, list[str]], target: str
) -> None:
    names["inside.example"] = ["192.168.0.7"]
    before = len(asked(server))
    with pytest.raises(DownloadError, match="public"):
        load_image(f"{public_server}/to/{target.format(port=server.server_port)}", public_only=True)
    assert len(asked(server)) == before + 1  # the redirect itself


def test_a_name_that_changes_its_address_is_looked_up_once_for_a_connection(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["8.8.8.8", "127.0.0.1"])
    connected: list[str] = []

    def look_up(host: str, port: int, *_: object, **__: object) -> list[object]:
        address = next(answers) if host == "rebind.example" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        connected.append(address[0])
        return socket.create_connection(("127.0.0.1", server.server_port))

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(public_hosts, "create_connection", connect)
    load_image("http://rebind.example/mug.png", public_only=True)
    assert connected == ["8.8.8.8"]


def test_the_environments_proxy_is_not_asked(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    before = len(asked(server))
    with pytest.raises(DownloadError, match="public"):
        load_image("http://10.1.2.3/mug.png", public_only=True)
    assert len(asked(server)) == before


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/a.png", "data:image/png;base64,AAAA", "gopher://x"]
)
def test_other_schemes(url: str) -> None:
    with pytest.raises(ImageError, match="http"):
        load_image(url, public_only=True)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 300 + ".example", "..", "[", "%00"])
def test_hosts_that_do_not_exist(host: str) -> None:
    with pytest.raises(DownloadError, match="reachable"):
        load_image(f"http://{host}/a.png", public_only=True)
